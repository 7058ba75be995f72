"""pycocotools' run-length encoding."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Encode masks [N, H, W] by name: answers with compressed counts, areas and boxes, or says what is missing."""
    try:
        from pycocotools import mask as coco  # type: ignore[import-untyped]
    except ImportError as error:
        return {"missing": str(error)}, {}
    answer = {}
    for name, masks in tensors.items():
        encoded = [coco.encode(np.asfortranarray(mask.numpy(force=True).astype(np.uint8))) for mask in masks]
        answer[name] = {
            "counts": [one["counts"].decode("ascii") for one in encoded],
            "areas": [int(coco.area(one)) for one in encoded],
            "boxes": [coco.toBbox(one).astype(int).tolist() for one in encoded],
        }
    return answer, {}
