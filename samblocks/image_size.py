"""The size of a model's images as callers give it: one side, or a height and a width; and other counts."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

from samblocks.errors import printable

ImageSize = int | tuple[int, int]
"""The side of square images in pixels, or their (height, width)."""


class Sizes(NamedTuple):
    """What of a model's shapes callers choose, None for what it was released with.

    Args:
        image_size: of the images in pixels.
        num_maskmem: frames in memory.
        in_chans: channels of the images.
    """

    image_size: ImageSize | None = None
    num_maskmem: int | None = None
    in_chans: int | None = None

    def checked(self) -> Sizes:
        """The same as plain integers, a pair of equal sides as one.

        Raises:
            ValueError: one is no whole number, too small, or larger than any model's.
        """
        frames, channels = self.num_maskmem, self.in_chans
        return Sizes(
            None if self.image_size is None else image_size_of(*image_sides(self.image_size)),
            None if frames is None else whole_number(frames, "num_maskmem", 0),
            None if channels is None else whole_number(channels, "in_chans", 1),
        )


_MOST = 1 << 16
"""What no count of a model comes near; tables made for more would not fit into any memory."""


def whole_number(value: object, name: str, least: int, most: int = _MOST) -> int:
    """An integer argument.

    Raises:
        ValueError: it is none, less than `least`, or more than `most`.

    >>> whole_number(512.0, "num_maskmem", 0)
    Traceback (most recent call last):
    ValueError: num_maskmem=512.0 must be an integer from 0 to 65536
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what it refuses is refused by name
    except TypeError:
        number = most + 1
    if isinstance(value, bool) or not least <= number <= most:
        raise ValueError(f"{name}={printable(repr(value))} must be an integer from {least} to {most}")
    return number


def image_sides(image_size: int | Sequence[int], name: str = "image_size") -> tuple[int, int]:
    """Height and width in pixels.

    Raises:
        ValueError: it is neither a positive integer nor a pair of them.

    >>> image_sides(512), image_sides((512, 1024))
    ((512, 512), (512, 1024))
    >>> image_sides("1024")
    Traceback (most recent call last):
    ValueError: image_size='1024' must be a side in pixels, or a height and a width: integers from 1 to 65536
    """
    given = image_size if isinstance(image_size, Sequence) else (image_size, image_size)
    try:
        height, width = (whole_number(side, name, 1) for side in given)
    except ValueError:
        raise ValueError(
            f"{name}={printable(repr(image_size))} must be a side in pixels, or a height and a width: integers "
            f"from 1 to {_MOST}"
        ) from None
    return height, width


def image_size_of(height: int, width: int) -> ImageSize:
    """The same as one number where the sides are equal.

    >>> image_size_of(512, 512), image_size_of(512, 1024)
    (512, (512, 1024))
    """
    return height if height == width else (height, width)
