"""Clicks on a picture: points on the object and off it, and the two corners of a box."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from samblocks.predict.resize import Bytes

Kind = Literal["object", "background", "box"]
Place = tuple[int, int]

_COLOURS: Final = {1: (46, 204, 113), 0: (231, 76, 60)}
_BOX: Final = (255, 255, 255)


@dataclass
class Clicks:
    """What was said about one object of one picture.

    Attributes:
        points: (x, y) in pixels.
        labels: 1 on the object, 0 on the background, one for each point.
        box: x0, y0, x1, y1.
        corner: the first corner of a box whose second is still to come.
    """

    points: list[Place] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: tuple[int, int, int, int] | None = None
    corner: Place | None = None

    def add(self, kind: Kind, place: Place) -> bool:
        """Take a click; whether there is now something new to be predicted.

        >>> clicks = Clicks()
        >>> clicks.add("box", (30, 5)), clicks.add("box", (10, 25)), clicks.box
        (False, True, (10, 5, 30, 25))
        """
        if kind != "box":
            self.points.append(place)
            self.labels.append(int(kind == "object"))
            return True
        if self.corner is None or self.corner[0] == place[0] or self.corner[1] == place[1]:
            self.corner = place
            return False
        (x0, x1), (y0, y1) = (sorted(sides) for sides in zip(self.corner, place, strict=True))
        self.box, self.corner = (x0, y0, x1, y1), None
        return True

    def undo(self) -> None:
        """Take back the corner that waits, else the last point, else the box."""
        if self.corner is not None:
            self.corner = None
        elif self.points:
            self.points.pop()
            self.labels.pop()
        else:
            self.box = None

    def __bool__(self) -> bool:
        """Whether there is a prompt."""
        return bool(self.points) or self.box is not None

    def drawn(self, picture: Bytes) -> Bytes:
        """A copy of a picture [H, W, 3] with the clicks on it."""
        canvas = picture.copy()
        radius = max(2, round(max(picture.shape[:2]) / 120))
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            for grown, colour in ((radius // 2, (0, 0, 0)), (0, _BOX)):
                _frame(canvas, (x0 - grown, y0 - grown, x1 + grown, y1 + grown), max(1, radius // 2), colour)
        if self.corner is not None:
            _disc(canvas, self.corner, radius, _BOX)
        for place, label in zip(self.points, self.labels, strict=True):
            _disc(canvas, place, radius, _COLOURS[label])
        return canvas


def _disc(canvas: Bytes, place: Place, radius: int, colour: tuple[int, int, int]) -> None:
    """A disc with a white rim and a dark one around it."""
    rows, columns = np.ogrid[: canvas.shape[0], : canvas.shape[1]]
    distance = (columns - place[0]) ** 2 + (rows - place[1]) ** 2
    for size, shade in ((radius * 1.9, (0, 0, 0)), (radius * 1.6, (255, 255, 255)), (radius, colour)):
        canvas[distance <= size**2] = shade


def _frame(canvas: Bytes, box: tuple[int, int, int, int], width: int, colour: tuple[int, int, int]) -> None:
    x0, y0, x1, y1 = (max(0, side) for side in box)
    canvas[y0 : y1 + 1, x0 : x0 + width] = colour
    canvas[y0 : y1 + 1, max(0, x1 - width + 1) : x1 + 1] = colour
    canvas[y0 : y0 + width, x0 : x1 + 1] = colour
    canvas[max(0, y1 - width + 1) : y1 + 1, x0 : x1 + 1] = colour
