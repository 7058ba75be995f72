"""OpenCV's connected components: upstream's kernel, which takes a CUDA compiler, gives the same ones."""

from collections.abc import Mapping
from typing import Any

import cv2  # type: ignore[import-not-found]
import numpy as np
import torch
from torch import Tensor


def stand_in() -> None:
    """Let sam2 take these for the components that its kernel would find, which runs on CUDA only."""
    import sam2.utils.misc

    sam2.utils.misc.get_connected_components = connected_components


def connected_components(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Label 8-connected components, as `sam2._C.get_connected_componnets` does on a GPU.

    Args:
        masks: [B, 1, H, W]; what is not 0 is foreground.

    Returns:
        Labels and, for each pixel, the area of its component: twice [B, 1, H, W] int32.
    """
    pairs = [_one(mask.numpy()) for mask in (masks != 0).to(torch.uint8).cpu().flatten(0, -3)]
    labels, areas = (torch.stack(list(maps)).view(masks.shape) for maps in zip(*pairs, strict=True))
    return labels, areas


def _one(mask: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask), connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA][labels]
    return torch.from_numpy(labels), torch.from_numpy(np.where(labels > 0, areas, 0).astype(np.int32))


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Label masks by name: answers with the labels and areas of each, and says which OpenCV it was."""
    made = {}
    for name, masks in tensors.items():
        made[f"{name}.labels"], made[f"{name}.areas"] = connected_components(masks)
    return {"version": cv2.__version__}, made
