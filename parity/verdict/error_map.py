"""Where an error sits: the absolute difference of two outputs over their two map axes, on a small grid."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch
from torch import Tensor

SIDE = 64
"""Most rows and columns of a grid."""


@dataclass(frozen=True)
class ErrorMap:
    """A grid of differences; each cell holds the largest of what falls into it.

    Attributes:
        shape: shape of the output.
        axes: which two of its axes are the rows and columns.
        rows: height of the grid.
        columns: width of the grid.
        peak: the largest difference; infinity where something is not a number.
        levels: rows × columns bytes, 0 for no difference to 255 for the peak.
    """

    shape: tuple[int, ...]
    axes: tuple[int, int]
    rows: int
    columns: int
    peak: float
    levels: bytes

    def record(self) -> dict[str, Any]:
        """The grid for JSON."""
        return {
            "shape": list(self.shape),
            "axes": list(self.axes),
            "rows": self.rows,
            "columns": self.columns,
            "peak": self.peak if self.peak < float("inf") else str(self.peak),
            "levels": base64.b64encode(self.levels).decode(),
        }

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> "ErrorMap":
        """The grid that `record` described.

        Raises:
            ValueError: when the record is not one.
        """
        try:
            levels = base64.b64decode(record["levels"], validate=True)
            rows, columns = int(record["rows"]), int(record["columns"])
            first, second = record["axes"]
            error_map = ErrorMap(
                tuple(int(size) for size in record["shape"]),
                (int(first), int(second)),
                rows,
                columns,
                float(record["peak"]),
                levels,
            )
        except (KeyError, TypeError, ValueError) as damage:
            raise ValueError(f"a heat map cannot be read: {damage}") from None
        if rows < 1 or columns < 1 or len(levels) != rows * columns:
            raise ValueError(f"a heat map of {rows} × {columns} cells has {len(levels)} values")
        return error_map


def grid(ours: Tensor, theirs: Tensor) -> ErrorMap | None:
    """The grid of |ours − theirs|, or None where the two have no map axes or differ nowhere.

    Args:
        ours: our output, two axes or more.
        theirs: the output it must equal, of the same shape.
    """
    if ours.shape != theirs.shape or ours.ndim < 2 or ours.numel() == 0:
        return None
    axes = map_axes(tuple(ours.shape))
    if min(ours.shape[axis] for axis in axes) < 2:
        return None
    difference = (ours.double() - theirs.double()).abs()
    difference = torch.where(difference.isnan(), torch.inf, difference)
    others = [axis for axis in range(ours.ndim) if axis not in axes]
    flat = difference.amax(dim=others) if others else difference
    peak = float(flat.max())
    if peak == 0:
        return None
    # A value that is not finite outshines all others: it is the peak, and the rest is shown as nothing.
    share = flat.isinf().double() if peak == float("inf") else flat / peak
    rows, columns = (min(size, SIDE) for size in share.shape)
    pooled = torch.nn.functional.adaptive_max_pool2d(share[None, None], (rows, columns))[0, 0]
    # Rounded up: a cell with any difference at all is told from one without.
    levels = (pooled * 255).ceil().clamp(0, 255).to(torch.uint8).numpy().tobytes()
    return ErrorMap(tuple(ours.shape), axes, rows, columns, peak, levels)


def map_axes(shape: tuple[int, ...]) -> tuple[int, int]:
    """The two axes that span the map: the last two, or those before the channels of a [B, H, W, C] output.

    >>> map_axes((1, 256, 64, 64)), map_axes((1, 14, 14, 96)), map_axes((2, 49, 32))
    ((2, 3), (1, 2), (1, 2))
    """
    last = len(shape) - 1
    channels_last = len(shape) == 4 and shape[1] == shape[2] != shape[3]
    return (1, 2) if channels_last else (last - 1, last)


def png(error_map: ErrorMap, colours: str = "inferno") -> bytes:
    """The grid as a PNG, one pixel a cell, for a page that scales it up; needs the extra `plots`."""
    import numpy as np
    from matplotlib.image import imsave

    levels = np.frombuffer(error_map.levels, np.uint8).reshape(error_map.rows, error_map.columns)
    file = BytesIO()
    imsave(file, levels, cmap=colours, vmin=0, vmax=255, format="png")
    return file.getvalue()
