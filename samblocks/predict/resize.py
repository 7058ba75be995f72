"""Resizing of pictures, as each of upstream's drivers does it.

SAM 1 resizes bytes by Pillow's bilinear filter and SAM 2's videos by its bicubic one; SAM 2's pictures are resized as
real numbers by torch. Pillow's arithmetic is exact, and done here again, so that arrays need no Pillow.
"""

from collections.abc import Callable
from typing import Final, Literal

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from samblocks.image_size import ImageSize, image_sides

Bytes = NDArray[np.uint8]
Filter = Literal["bilinear", "bicubic"]

_BITS: Final = 22
"""Binary places of a weight: what is left of 32 bits for a byte, a sign, and a sum of weights above 1."""


def resize_bytes(picture: Bytes, size: tuple[int, int], filter: Filter) -> Bytes:
    """Resize a picture of bytes, equal to Pillow's `Image.resize` in every bit.

    One side is resized after the other, each rounded to bytes; a side that keeps its length is left alone. Rows
    come first where they lose more than twice as many as the columns: so does Pillow 13. Earlier ones always began
    with the columns, which gives single grey levels more or less in tall pictures.

    Args:
        picture: [H, W, C], uint8.
        size: height and width of the result, at least 1.
        filter: by which neighbours count: "bilinear" or "bicubic".

    Returns:
        [size[0], size[1], C], uint8; `picture` itself if it has that size.

    Raises:
        ValueError: `size` or `filter` is none.

    >>> resize_bytes(np.array([[[0], [100]]], np.uint8), (1, 4), "bilinear")[..., 0]
    array([[  0,  25,  75, 100]], dtype=uint8)
    """
    if filter not in _KERNELS:
        raise ValueError(f"filter must be one of {sorted(_KERNELS)}, not {filter!r}")
    if min(size) < 1:
        raise ValueError(f"size must be a height and a width of at least 1, not {size}")
    lost_rows, lost_columns = picture.shape[0] - size[0], picture.shape[1] - size[1]
    rows_first = lost_rows > 0 and lost_rows > 2 * lost_columns
    for axis in (0, 1) if rows_first else (1, 0):
        if picture.shape[axis] != size[axis]:
            picture = _resized_rows(picture.swapaxes(0, axis), size[axis], filter).swapaxes(0, axis)
    return picture


def resize_smooth(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pictures [B, C, H, W] of real numbers bilinearly, smoothed where they shrink."""
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)


def fitting_size(height: int, width: int, frame: ImageSize) -> tuple[int, int]:
    """Height and width of a picture that just fits into a frame, rounded half up, at least 1 each.

    In a square frame the longest side becomes the frame's.

    >>> fitting_size(150, 167, 256), fitting_size(1, 5000, 1024), fitting_size(150, 167, (128, 256))
    ((230, 256), (1, 1024), (128, 143))
    """
    most_rows, most_columns = image_sides(frame, "frame")
    scale = min(most_rows / height, most_columns / width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def _resized_rows(picture: Bytes, length: int, filter: Filter) -> Bytes:
    """A picture [N, ...] with `length` rows."""
    first, weights = _taps(len(picture), length, filter)
    last = len(picture) - 1
    total = np.full((length, *picture.shape[1:]), 1 << (_BITS - 1), np.int32)
    for offset, weight in enumerate(weights.T):
        # Beyond the picture the weight is 0, whichever row is taken.
        rows = picture[np.minimum(first + offset, last)].astype(np.int32)
        rows *= weight.reshape(-1, *[1] * (picture.ndim - 1))
        total += rows
    total >>= _BITS
    return np.clip(total, 0, 255, out=total).astype(np.uint8)


def _taps(before: int, after: int, filter: Filter) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """For each row of the result the first row that counts, [after], and whole-numbered weights, [after, taps]."""
    kernel, reach = _KERNELS[filter]
    scale = before / after
    stretch = max(scale, 1.0)
    support = reach * stretch
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.intp), 0)
    end = np.minimum((centres + support + 0.5).astype(np.intp), before)
    offsets = np.arange(int((end - first).max()))
    rows = first[:, None] + offsets
    # Multiplied by the reciprocal, as Pillow does: a division would differ in a last bit.
    weights = kernel((rows - centres[:, None] + 0.5) * (1.0 / stretch))
    weights = np.where(rows < end[:, None], weights, 0.0)
    total = np.zeros(after)
    for column in weights.T:
        total += column  # in this order: a sum in pairs would differ in a last bit
    weights = weights * np.where(total == 0.0, 1.0, 1.0 / np.where(total == 0.0, 1.0, total))[:, None]
    fixed = np.trunc(weights * (1 << _BITS) + np.copysign(0.5, weights))
    return first, fixed.astype(np.int32)


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel with a = -0.5."""
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_KERNELS: Final[dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], float]]] = {
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
}
