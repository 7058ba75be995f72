"""Pictures as people have them, in the one form that predictors take: [H, W, 3], red first, bytes or 0 to 1."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samblocks.predict.arguments import shown
from samblocks.predict.picture_files import in_colour, upright

Picture = Any
"""A NumPy array, a tensor, a PIL picture, or the path of a file."""

Pixels = NDArray[np.uint8] | NDArray[np.float32]

_CHANNELS = (1, 3, 4)


def as_rgb(image: Picture, *, argument: str = "image", image_format: Literal["RGB", "BGR"] = "RGB") -> Pixels:
    """Take a picture in any usual form.

    Grey becomes three equal channels, and a fourth channel, opacity, is dropped. A file is turned upright as its
    EXIF entry says; an open picture is taken as it stands. What could only be guessed is refused: numbers of 16
    bits, whose white level is not known, and floating-point numbers beyond 0 to 1.

    Args:
        image: a NumPy array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; a tensor, which may also be [C, H, W]; a PIL
            picture; or a file's path. Values are uint8, or floating-point numbers from 0 to 1.
        argument: what messages call it.
        image_format: the order of an array's or a tensor's channels.

    Returns:
        [H, W, 3], contiguous, red first: uint8, or float32 from 0 to 1. It may share `image`'s memory.

    Raises:
        ValueError: `image` is none of these; the message says what it is and what to do.
        ImportError: a path was given, and Pillow is missing.

    >>> as_rgb(np.full((2, 2), 7, np.uint8))[0, 1]
    array([7, 7, 7], dtype=uint8)
    """
    if not isinstance(image_format, str) or image_format not in ("RGB", "BGR"):
        raise ValueError(f"image_format must be 'RGB' or 'BGR', not {shown(image_format)}")
    if isinstance(image, str | os.PathLike):
        return _from_file(Path(image), argument)
    if isinstance(image, Tensor):
        array = _from_tensor(image, argument)
    elif isinstance(image, np.ndarray):
        array = image
    elif hasattr(image, "convert") and hasattr(image, "getbands"):
        return _from_pillow(image, argument)
    else:
        raise ValueError(
            f"{argument} is a {type(image).__name__}; it must be a NumPy array, a tensor, a PIL picture or a path"
        )
    values: Pixels = _values(_channels(array, argument), argument)
    if image_format == "BGR":
        values = values[..., ::-1]
    return values if values.flags.c_contiguous else values.copy()


def _from_file(path: Path, argument: str) -> Pixels:
    what = f"{argument}={str(path)!r}"
    return _from_pillow(upright(path, what), what)


def _from_pillow(picture: Any, argument: str) -> Pixels:
    if picture.mode == "F" or picture.mode.startswith("I"):
        raise ValueError(
            f"{argument} has mode {picture.mode}, whose white level is not known: scale it to bytes first, "
            "for instance with numpy.asarray and a division by its largest value"
        )
    return _some(np.ascontiguousarray(in_colour(picture)), argument)


def _from_tensor(image: Tensor, argument: str) -> NDArray[Any]:
    """A tensor as an array with its channels last, where torch has them first."""
    image = image.detach()
    if image.ndim == 3 and image.shape[0] in _CHANNELS:
        image = image.permute(1, 2, 0)
    if image.dtype is torch.bfloat16:
        image = image.float()
    array: NDArray[Any] = image.cpu().numpy()
    return array


def _channels(array: NDArray[Any], argument: str) -> NDArray[Any]:
    """[H, W, 3] of grey or colour pictures."""
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in _CHANNELS:
        hint = ""
        if array.ndim == 3 and array.shape[0] in _CHANNELS:
            hint = "; its channels are first: use image.transpose(1, 2, 0)"
        elif array.ndim == 4:
            hint = "; pictures are given one at a time, or as a list to set_image_batch"
        raise ValueError(
            f"{argument} has shape {array.shape}; it must be [H, W], or [H, W, C] with 1, 3 or 4 channels{hint}"
        )
    if array.shape[-1] == 1:
        return np.broadcast_to(array, (*array.shape[:2], 3))
    return array[..., :3]


def _values(array: NDArray[Any], argument: str) -> Pixels:
    """The picture's values, checked, as bytes or as float32."""
    _some(array, argument)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"{argument} holds {array.dtype}; it must be numbers: uint8, or floating-point from 0 to 1"
        )
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"{argument} holds {array.dtype} from {array.min()} to {array.max()}; it must be uint8, or floating-point "
            "from 0 to 1: scale it to the range that is to be seen"
        )
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):  # NaN is in no range
        raise ValueError(
            f"{argument} holds {array.dtype} from {low:g} to {high:g}; floating-point pictures must be from 0 to 1"
        )
    return array.astype(np.float32, copy=False)


def _some(array: NDArray[Any], argument: str) -> NDArray[Any]:
    if array.size == 0:
        raise ValueError(f"{argument} has shape {array.shape}: there are no pixels")
    return array
