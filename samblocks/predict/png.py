"""Pictures as PNG files, in a few lines of the standard library."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_COLOUR_TYPES = {1: 0, 3: 2}


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    r"""A picture as the bytes of a PNG file.

    Args:
        picture: [H, W] or [H, W, 3], uint8.

    Returns:
        The file's content.

    Raises:
        ValueError: the picture has another shape or dtype.

    >>> encode_png(np.zeros((2, 3), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    values = picture[..., None] if picture.ndim == 2 else picture
    if (
        values.dtype != np.uint8
        or values.ndim != 3
        or values.shape[2] not in _COLOUR_TYPES
        or not values.size
    ):
        raise ValueError(f"picture must be uint8 [H, W] or [H, W, 3], found {picture.dtype} {picture.shape}")
    height, width, channels = values.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = values.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
