"""From a picture to a model's input, from its pixels to the model's, and from masks back to the picture.

SAM 1 and MobileSAM see a picture in its own shape, filled up below or at the right; SAM 2 sees it stretched to the
model's input. That is a square in upstream's classes, whose methods these are; here it may have a height and a width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samblocks.image_size import ImageSize, image_sides, image_size_of
from samblocks.ops.precision import at_least_float32
from samblocks.predict.pictures import Pixels
from samblocks.predict.resize import fitting_size, resize_bytes, resize_smooth

Size = tuple[int, int]

MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)


class ResizeLongestSide:
    """The longest side becomes `target_length`: how SAM 1 and MobileSAM see pictures.

    Args:
        target_length: side of the model's input in pixels, or its height and width, into which the picture then fits.

    >>> transform = ResizeLongestSide(256)
    >>> transform.apply_image(np.zeros((150, 167, 3), np.uint8)).shape
    (230, 256, 3)
    >>> transform.apply_coords(np.array([[167.0, 150.0]]), (150, 167))
    array([[256., 230.]])
    """

    def __init__(self, target_length: ImageSize) -> None:
        self.sides = image_sides(target_length, "target_length")
        self.target_length = image_size_of(*self.sides)

    def apply_image(self, image: Pixels) -> NDArray[np.uint8]:
        """Resize a picture by Pillow's bilinear rule.

        Args:
            image: [H, W, 3], uint8, or floating-point from 0 to 1, which is cut to bytes first.

        Returns:
            [h, w, 3], uint8.
        """
        levels = image if image.dtype == np.uint8 else image * image.dtype.type(255)
        size = self.get_preprocess_shape(image.shape[0], image.shape[1], self.target_length)
        return resize_bytes(levels.astype(np.uint8, copy=False), size, "bilinear")

    def apply_coords(self, coords: NDArray[Any], original_size: Size) -> NDArray[np.float64]:
        """Take coordinates [..., 2] as (x, y) from a picture of (height, width) to the resized one, in float64."""
        scale = np.array(self._scale(original_size))
        scaled: NDArray[np.float64] = np.asarray(coords).astype(np.float64) * scale
        return scaled

    def apply_boxes(self, boxes: NDArray[Any], original_size: Size) -> NDArray[np.float64]:
        """Take boxes [..., 4] to the resized picture, as [B, 4]."""
        return self.apply_coords(np.asarray(boxes).reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_image_torch(self, image: Tensor) -> Tensor:
        """Resize pictures [B, 3, H, W] of real numbers, smoothed where they shrink."""
        size = self.get_preprocess_shape(image.shape[2], image.shape[3], self.target_length)
        return resize_smooth(image, size)

    def apply_coords_torch(self, coords: Tensor, original_size: Size) -> Tensor:
        """As `apply_coords` for a tensor, in float32."""
        across, down = self._scale(original_size)
        coords = coords.to(torch.float32)
        return torch.stack((coords[..., 0] * across, coords[..., 1] * down), dim=-1)

    def apply_boxes_torch(self, boxes: Tensor, original_size: Size) -> Tensor:
        """As `apply_boxes` for a tensor, in float32."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: ImageSize) -> Size:
        """Height and width of the resized picture; see `samblocks.predict.resize.fitting_size`."""
        return fitting_size(oldh, oldw, long_side_length)

    def _scale(self, original_size: Size) -> tuple[float, float]:
        """New over old width, and height; sides are whole pixels in both."""
        old_height, old_width = original_size
        height, width = self.get_preprocess_shape(old_height, old_width, self.target_length)
        return width / old_width, height / old_height


class SAM2Transforms:
    """The picture becomes a square: how SAM 2 sees it.

    Args:
        resolution: side of the model's input in pixels, or its height and width.

    >>> transform = SAM2Transforms(256)
    >>> transform(np.zeros((150, 167, 3), np.uint8)).shape
    torch.Size([3, 256, 256])
    >>> transform.transform_coords(torch.tensor([[167.0, 150.0]]), normalize=True, orig_hw=(150, 167))
    tensor([[256., 256.]])
    """

    def __init__(self, resolution: ImageSize) -> None:
        self.sides = image_sides(resolution, "resolution")
        self.resolution = image_size_of(*self.sides)

    def __call__(self, image: Pixels, dtype: torch.dtype = torch.float32) -> Tensor:
        """Resize and normalise a picture [H, W, 3], uint8 or floating-point from 0 to 1: [3, *sides]."""
        pixels = torch.from_numpy(image.transpose(2, 0, 1).copy()).to(dtype)
        if image.dtype == np.uint8:
            pixels = pixels / 255
        if pixels.shape[1:] != self.sides:
            pixels = resize_smooth(pixels[None], self.sides)[0]
        mean, std = (torch.tensor(values, dtype=dtype).reshape(3, 1, 1) for values in (MEAN, STD))
        return (pixels - mean) / std

    def forward_batch(self, img_list: Sequence[Pixels], dtype: torch.dtype = torch.float32) -> Tensor:
        """Resize and normalise several pictures: [B, 3, *sides]."""
        return torch.stack([self(image, dtype) for image in img_list])

    def transform_coords(
        self, coords: Tensor, normalize: bool = False, orig_hw: Size | None = None
    ) -> Tensor:
        """Take coordinates [..., 2] as (x, y) to the model's pixels.

        Args:
            coords: in a picture's pixels if `normalize`, else fractions of its sides.
            normalize: divide by the picture's sides first.
            orig_hw: the picture's height and width, which `normalize` needs.

        Returns:
            The same shape. Division and multiplication are rounded one by one.
        """
        if normalize:
            if orig_hw is None:
                raise ValueError("orig_hw must be given to normalize coordinates")
            height, width = orig_hw
            coords = torch.stack((coords[..., 0] / width, coords[..., 1] / height), dim=-1)
        return coords * coords.new_tensor(self.sides[::-1])

    def transform_boxes(self, boxes: Tensor, normalize: bool = False, orig_hw: Size | None = None) -> Tensor:
        """Take boxes [..., 4] to the model's pixels, as corners [B, 2, 2]; see `transform_coords`."""
        return self.transform_coords(boxes.reshape(-1, 2, 2), normalize, orig_hw)

    def postprocess_masks(self, masks: Tensor, orig_hw: Size) -> Tensor:
        """Bring logits [B, M, h, w] to a picture's (height, width)."""
        wide = masks.to(at_least_float32(masks.dtype))
        return F.interpolate(wide, orig_hw, mode="bilinear", align_corners=False)
