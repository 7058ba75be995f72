"""Files of pictures and of arrays: opened, or refused by one kind of error that names them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from samblocks.errors import cause


def pillow(what: str) -> ModuleType:
    """The module `PIL.Image`, or ImportError that says how to get it; `what` needs it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(f"{what} needs Pillow: pip install 'samblocks[images]'") from None
    module: ModuleType = Image
    return module


@contextmanager
def picture_file(file: Path | IO[bytes], what: str) -> Iterator[Any]:
    """Open a picture by Pillow; what Pillow raises inside the with block, for a damaged file, is told as one error.

    Args:
        file: the picture.
        what: what messages call it.

    Yields:
        The PIL picture. It is decoded when its pixels are asked for, which must happen inside the block.

    Raises:
        ValueError: it is no picture, cut off, damaged, or larger than Pillow allows.
        OSError: the system does not give the file.
        ImportError: Pillow is missing.
    """
    opened = pillow(f"{what}: reading a picture file").open
    from PIL import UnidentifiedImageError

    try:
        with opened(file) as picture:
            yield picture
    except UnidentifiedImageError:
        raise ValueError(f"{what} is not a picture that Pillow can read") from None
    except Exception as error:  # whatever a decoder may raise
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise ValueError(f"{what} cannot be decoded, it is damaged or too large: {cause(error)}") from None


def upright(file: Path | IO[bytes], what: str) -> Any:
    """The PIL picture of a file, decoded and turned as its EXIF entry says; see `picture_file`."""
    with picture_file(file, what) as picture:
        from PIL import ImageOps

        return ImageOps.exif_transpose(picture)


def in_colour(picture: Any) -> Any:
    """A PIL picture in RGB, by its palette where it has one; opacity is dropped, not blended."""
    if picture.mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")  # without this step Pillow warns, and gives the same colours
    return picture.convert("RGB")


def read_array(file: Path | IO[bytes], what: str) -> NDArray[Any]:
    """The array of a .npy file.

    Args:
        file: the file.
        what: what messages call it.

    Raises:
        ValueError: it is another kind of file, cut off, or holds objects.
        OSError: the system does not give the file.
    """
    try:
        if isinstance(file, Path):
            with file.open("rb") as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
        return np.lib.format.read_array(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{what} is no whole .npy file of numbers: {error}") from None
