"""Greedy non-maximum suppression, as torchvision's kernel for CPUs computes it, without a compiled library."""

import numpy as np
import torch
from torch import Tensor

_AT_ONCE = 256
"""Boxes whose overlaps with all that follow are computed in one go."""


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Keep the boxes that overlap no better one by more than a threshold.

    Boxes are ends without width: their area is (x1 - x0) (y1 - y0). Two boxes without area have no overlap that is a
    number, and both stay. Among equal scores the first box is the better one, however many there are.

    Args:
        boxes: [N, 4], x0, y0, x1, y1.
        scores: [N]
        threshold: intersection over union, in float32, above which the worse box goes.

    Returns:
        Indices of the boxes that stay, best first, on the device of `boxes`: [K] int64.

    Raises:
        ValueError: `boxes` and `scores` are not N boxes and N scores.

    Examples:
        >>> boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10]])
        >>> nms(boxes, torch.tensor([0.5, 0.9, 0.1]), 0.7)
        tensor([1, 2])
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"boxes must be [N, 4] and scores [N], found {list(boxes.shape)} and {list(scores.shape)}"
        )
    order = scores.sort(descending=True, stable=True).indices
    sorted_boxes = boxes[order].to(torch.float32).cpu().numpy()
    kept = torch.from_numpy(_greedy(sorted_boxes, threshold)).to(order.device)
    return order[kept].to(boxes.device)


def _greedy(
    boxes: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", threshold: float
) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Go through boxes, best first, and drop what each one that is still there overlaps: indices of the rest."""
    x0, y0, x1, y1 = boxes.T
    areas = (x1 - x0) * (y1 - y0)
    alive = np.ones(len(boxes), bool)
    for start in range(0, len(boxes), _AT_ONCE):
        better = start + alive[start : start + _AT_ONCE].nonzero()[0]
        rows = better[:, None]
        width = np.minimum(x1[rows], x1[start:]) - np.maximum(x0[rows], x0[start:])
        height = np.minimum(y1[rows], y1[start:]) - np.maximum(y0[rows], y0[start:])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            overlap = shared / (areas[rows] + areas[start:] - shared)
        # The kernel compares in double: 0.1 is less than its float32.
        much = overlap.astype(np.float64) > threshold
        for index, row in zip(better, much, strict=True):
            if alive[index]:
                row[: index - start + 1] = False
                alive[start:] &= ~row
    return alive.nonzero()[0]
