"""Non-maximum suppression for drivers that want torchvision's, where its compiled library is missing."""

from typing import Any

import torch
from torch import Tensor

_libraries: list[Any] = []


def provide() -> None:
    """Give torchvision an operator in plain torch, once, if it has none of its own."""
    import torchvision.extension
    import torchvision.ops.boxes as boxes

    if _libraries or torchvision.extension._has_ops():
        return
    library: Any = torch.library.Library("torchvision", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("nms", suppress, "CompositeExplicitAutograd")
    _libraries.append(library)
    boxes._assert_has_ops = lambda: None


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Keep the boxes that overlap no better one by more than a threshold.

    Args:
        boxes: [N, 4], (x, y) of the top left and the bottom right corner.
        scores: [N]
        threshold: intersection over union above which the worse box goes.

    Returns:
        Indices of the boxes that stay, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
    keep: list[int] = []
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    for index in order.tolist():
        if gone[index]:
            continue
        keep.append(index)
        low = torch.maximum(boxes[:, :2], boxes[index, :2])
        high = torch.minimum(boxes[:, 2:], boxes[index, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        # torchvision's kernel compares in double: 0.3 is less than its float32.
        gone |= (shared / (area + area[index] - shared)).double() > threshold
    return torch.tensor(keep, dtype=torch.long)
