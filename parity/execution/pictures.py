"""Photographs, and how each family of models wants them: done once, so that all libraries get equal tensors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from parity import package
from parity.errors import UsageError

_FOLDER = package.FOLDER / "data"
PHOTOGRAPH = _FOLDER / "truck.jpg"
FRAMES = tuple(_FOLDER / f"bedroom_{index:02d}.jpg" for index in (0, 40, 80))

_SAM_MEAN, _SAM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_SAM2_MEAN, _SAM2_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def read(path: Path) -> np.ndarray:
    """A picture file as [H, W, 3], uint8, red first, turned upright.

    Raises:
        UsageError: Pillow is missing, or the file is no picture.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise UsageError("reading a picture needs pillow: pip install 'samblocks[images]'") from None
    try:
        with Image.open(path) as picture:
            return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except UnidentifiedImageError:
        raise UsageError(f"{path} is not a picture that Pillow can read") from None


def for_sam(picture: np.ndarray, size: int) -> Tensor:
    """[1, 3, size, size] for SAM 1 and MobileSAM: the longer side is `size`, zeros below or to the right.

    Args:
        picture: [H, W, 3], uint8.
        size: side of the model's images in pixels.
    """
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    resized = _resized(picture, (round(height * scale), round(width * scale)))
    image = (resized - _column(_SAM_MEAN)) / _column(_SAM_STD)
    return pad(image, (0, size - image.shape[3], 0, size - image.shape[2]))


def for_sam2(pictures: Sequence[np.ndarray], size: int) -> Tensor:
    """[N, 3, size, size] for SAM 2: resized to a square whatever the shape.

    Args:
        pictures: each [H, W, 3], uint8.
        size: side of the model's images in pixels.
    """
    images = torch.cat([_resized(picture, (size, size)) for picture in pictures]) / 255
    return (images - _column(_SAM2_MEAN)) / _column(_SAM2_STD)


def _resized(picture: np.ndarray, size: tuple[int, int]) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float()
    return interpolate(pixels, size=size, mode="bilinear", align_corners=False, antialias=True)


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).reshape(1, -1, 1, 1)
