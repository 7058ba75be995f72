"""What a command line says as numbers and names: read, or refused by `argparse` in a sentence that names the option."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from samblocks.files import plain_name


class Point(NamedTuple):
    """A click: x and y in pixels, and a label, 1 on the object and 0 on the background."""

    x: float
    y: float
    label: int


class Box(NamedTuple):
    """The left, upper, right and lower side of a box, in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float


_POINT: Final = "X,Y or X,Y,LABEL"
_BOX: Final = "X0,Y0,X1,Y1"


def point(text: str) -> Point:
    """Read a point.

    >>> point("520,375"), point("80,90.5,0")
    (Point(x=520.0, y=375.0, label=1), Point(x=80.0, y=90.5, label=0))
    """
    found = _numbers(text, (2, 3), _POINT)
    if found[2:] not in ([], [0.0], [1.0]):
        raise argparse.ArgumentTypeError(
            f"{text!r}: a label is 1 on the object or 0 on the background, not {found[2]:g}"
        )
    return Point(found[0], found[1], int(found[2]) if len(found) == 3 else 1)


def box(text: str) -> Box:
    """Read a box.

    >>> box("75,275,1725,850")
    Box(x0=75.0, y0=275.0, x1=1725.0, y1=850.0)
    """
    found = Box(*_numbers(text, (4,), _BOX))
    if found.x1 <= found.x0 or found.y1 <= found.y0:
        raise argparse.ArgumentTypeError(
            f"{text!r}: the second corner must be right of the first, and below it, as in {_BOX}"
        )
    return found


def point_on_frame(text: str) -> tuple[Point, int]:
    """Read a point and the frame that it is on.

    >>> point_on_frame("420,310,0@25")
    (Point(x=420.0, y=310.0, label=0), 25)
    """
    said, frame = _frame(text)
    return point(said), frame


def box_on_frame(text: str) -> tuple[Box, int]:
    """Read a box and the frame that it is on."""
    said, frame = _frame(text)
    return box(said), frame


def name(text: str) -> str:
    """Read a name that a folder will have."""
    try:
        return plain_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def some(text: str) -> str:
    """Read what must not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: give it a value")
    return text


def path(text: str) -> Path:
    """Read a path; an empty one, which would be the working folder, is none."""
    return Path(some(text))


def count(text: str) -> int:
    """Read a number of things, of which there is at least one."""
    if not (text.isdecimal() and len(text) < 19 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number from 1 on")
    return int(text)


def check_inside(points: Iterable[Point], boxes: Iterable[Box], size: tuple[int, int], where: str) -> None:
    """Refuse clicks outside a picture, and boxes that hold nothing of it.

    Args:
        points: the clicks.
        boxes: the boxes, which may reach over the edges.
        size: height and width of the picture.
        where: what it is called.

    Raises:
        ValueError: one lies outside.
    """
    height, width = size
    has = f"{where}, which is {width} pixels wide and {height} high: count from its upper left corner"
    for x, y, _ in points:
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(f"--point {x:g},{y:g} lies outside {has}")
    for x0, y0, x1, y1 in boxes:
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            raise ValueError(f"--box {x0:g},{y0:g},{x1:g},{y1:g} lies outside {has}")


def _numbers(text: str, counts: tuple[int, ...], form: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) not in counts or not all(map(math.isfinite, found)):
        wanted = " or ".join(map(str, counts))
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be {wanted} numbers with commas between them, {form}"
        )
    return found


def _frame(text: str) -> tuple[str, int]:
    """What stands before @, and the frame behind it, 0 if there is none."""
    said, at, frame = text.partition("@")
    if at and not (frame.isdecimal() and len(frame) < 19):
        raise argparse.ArgumentTypeError(f"{text!r}: behind @ stands a frame's number, from 0 on")
    return said, int(frame or 0)
