"""The outlines of a mask, exactly along the edges of its pixels, with holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int32]
"""Corners [K, 2] as (x, y), in pixels from the top left corner of the picture; the first one is not repeated."""


@dataclass(frozen=True)
class Polygon:
    """One piece of a mask.

    Attributes:
        outer: its outline; x to y turns to the right where y points down.
        holes: outlines of its holes, which turn the other way.
    """

    outer: Ring
    holes: tuple[Ring, ...] = ()


def polygons(mask: NDArray[Any]) -> list[Polygon]:
    """Outline a mask.

    Pixels that only touch at a corner belong to different pieces, so that no outline crosses itself.

    Args:
        mask: [H, W]; what is not 0 is foreground.

    Returns:
        Its pieces, from top to bottom; what they enclose is the mask, and nothing else.

    Raises:
        ValueError: `mask` has other than two dimensions.

    >>> [piece.outer.tolist() for piece in polygons(np.array([[0, 1, 1], [0, 1, 0]]))]
    [[[1, 0], [3, 0], [3, 1], [2, 1], [2, 2], [1, 2]]]
    """
    if mask.ndim != 2:
        raise ValueError(f"mask must be [H, W], found {list(mask.shape)}")
    corners = _corners(np.pad(mask != 0, 1))
    rings = _rings(corners)
    pieces = [(ring, list[Ring]()) for ring in rings if ring.outer]
    by_ring = {id(ring): holes for ring, holes in pieces}
    if len(pieces) < len(rings):
        _give_holes(mask != 0, rings, by_ring)
    return [Polygon(ring.points, tuple(holes)) for ring, holes in pieces]


@dataclass(frozen=True)
class _Corners:
    """Places where an outline turns, row by row, with the one that each is joined to along its row and its column.

    Attributes:
        points: [K, 2] as (x, y).
        along: [K], the other end of the edge in the row.
        down: [K], the other end of the edge in the column.
        starts: [K] bool, the pixel at the right and below is foreground.
    """

    points: Ring
    along: NDArray[np.intp]
    down: NDArray[np.intp]
    starts: NDArray[np.bool_]


@dataclass(frozen=True)
class _Outline:
    """A closed outline, and whether it goes around foreground."""

    points: Ring
    outer: bool


def _corners(on: NDArray[np.bool_]) -> _Corners:
    """The corners of a mask that has background all around, [H + 2, W + 2]."""
    nw, ne, sw, se = on[:-1, :-1], on[:-1, 1:], on[1:, :-1], on[1:, 1:]
    left, right, above, below = nw != sw, ne != se, nw != ne, sw != se
    simple = (left != right) & (above != below)
    twice = left & right & above & below  # two pixels touch at this corner alone
    found = []
    for edges_right in (False, True):
        for edges_down in (False, True):
            # At a double corner the edges of one pixel go together.
            own = simple & (right == edges_right) & (below == edges_down)
            both = twice & (nw if edges_right == edges_down else ne)
            y, x = np.nonzero(own | both)
            found.append(np.stack((x, y, np.full_like(x, edges_right), np.full_like(x, edges_down)), axis=1))
    table = np.concatenate(found)
    table = table[
        np.lexsort((table[:, 2], table[:, 0], table[:, 1]))
    ]  # by row; an edge's left end before its right
    x, y, edges_right, edges_down = table.T
    pairs = np.arange(len(table)).reshape(-1, 2)
    along, down = np.empty(len(table), np.intp), np.empty(len(table), np.intp)
    along[pairs[:, 0]], along[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    upright = np.lexsort((edges_down, y, x)).reshape(-1, 2)
    down[upright[:, 0]], down[upright[:, 1]] = upright[:, 1], upright[:, 0]
    return _Corners(table[:, :2].astype(np.int32), along, down, se[y, x])


def _rings(corners: _Corners) -> list[_Outline]:
    """Follow edges, in turns along a row and a column, from the topmost corner of each outline."""
    along, down = corners.along.tolist(), corners.down.tolist()
    seen = bytearray(len(along))
    rings = []
    for start in range(len(along)):
        if seen[start]:
            continue
        outer = bool(corners.starts[start])
        steps = (along, down) if outer else (down, along)
        path, at, turn = [], start, 0
        while not seen[at]:
            seen[at] = 1
            path.append(at)
            at = steps[turn][at]
            turn = 1 - turn
        rings.append(_Outline(corners.points[path], outer))
    return rings


def _give_holes(on: NDArray[np.bool_], rings: list[_Outline], holes_of: dict[int, list[Ring]]) -> None:
    """Give each hole to the outline around it.

    The pixel above a hole's topmost edge is foreground. Where its run of pixels begins, there is an edge of the same
    piece: its outline, or another hole, which lies higher and was given away before.
    """
    owner = np.full((on.shape[0], on.shape[1] + 1), -1, np.int32)
    for number, ring in enumerate(rings):
        ends = np.roll(ring.points, -1, axis=0)
        for (x, y), (to_x, to_y) in zip(ring.points.tolist(), ends.tolist(), strict=True):
            if x == to_x:
                owner[min(y, to_y) : max(y, to_y), x] = number
    around: dict[int, int] = {}
    for number, ring in enumerate(rings):  # from top to bottom
        if ring.outer:
            around[number] = number
            continue
        x, y = ring.points[0].tolist()
        background = np.flatnonzero(~on[y - 1, :x])
        begin = int(background[-1]) + 1 if len(background) else 0
        around[number] = around[int(owner[y - 1, begin])]
        holes_of[id(rings[around[number]])].append(ring.points)
