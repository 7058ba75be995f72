"""Our own mask generators with the settings that the bench gives every library's."""

from typing import Any

import numpy as np

SETTINGS: dict[str, Any] = {
    "points_per_side": 32,
    "points_per_batch": 64,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 0.7,
}
"""Thresholds under which filled weights, which predict no quality, leave masks for suppression to choose from."""


def photograph(side: int) -> np.ndarray:
    """A picture [side, side, 3], uint8, with patches and detail, that needs no decoder."""
    from parity.execution import fill

    coarse = fill.uniform("bench:coarse", (-(-side // 16), -(-side // 16), 3), 60.0, 195.0)
    wide = coarse.repeat(16, axis=0).repeat(16, axis=1)[:side, :side]
    return np.asarray(wide + fill.uniform("bench:detail", (side, side, 3), -60.0, 60.0), np.uint8)


def generator(model: Any, side: int) -> Any:
    """The generator for a model of ours."""
    from samblocks.predict import SAM2AutomaticMaskGenerator, SamAutomaticMaskGenerator

    second = hasattr(model, "sam_mask_decoder")
    return (SAM2AutomaticMaskGenerator if second else SamAutomaticMaskGenerator)(model, **SETTINGS)
