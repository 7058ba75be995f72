"""supervision's records and its compact masks, made of `Masks` as they are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samblocks.predict.masks import Masks


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Give masks [N, H, W] and their "scores" [N] to supervision, in the ways in which it takes masks.

    Returns:
        What is missing, if supervision is; and the masks, boxes and areas that come out of each way, in its order.
    """
    try:
        import supervision  # type: ignore[import-not-found]
    except ImportError as error:
        return {"missing": str(error)}, {}
    masks = Masks(tensors["masks"].numpy(), tensors["scores"].numpy())
    records = supervision.Detections.from_sam(masks)
    compact = supervision.CompactMask.from_dense(np.asarray(masks), masks.boxes, masks.size)
    from_rle = supervision.CompactMask.from_coco_rle(masks.rle(), masks.boxes, masks.size)
    both = supervision.Detections(xyxy=masks.boxes, mask=compact, confidence=masks.scores)
    found = {
        "records/masks": records.mask,
        "records/boxes": records.xyxy,
        "compact/masks": compact.to_dense(),
        "compact/areas": compact.area,
        "rle/masks": from_rle.to_dense(),
        "detections/areas": both.area,
    }
    return {}, {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}
