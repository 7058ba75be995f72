"""Upstream's drivers with our models, and ours with upstream's, beside each with its own.

A file of its own process: cases compare one library with ours, and their workers hold no other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.references.common import torchvision_operators
from parity.references.hosts.driver import filled, photograph
from parity.references.meta import generators, models, predictors
from samblocks import predict
from samblocks.models.build import assemble

_STEP = 4  # the photograph is driven at a quarter of its size

_SAM_GENERATOR: dict[str, Any] = {
    "points_per_side": 8,
    "points_per_batch": 25,
    "pred_iou_thresh": 0.3,
    "stability_score_thresh": 0.02,
    "stability_score_offset": 0.3,
    "box_nms_thresh": 0.995,
}
_SAM_THRESHOLD = 0.1
_SAM2_GENERATOR: dict[str, Any] = {
    "points_per_side": 6,
    "points_per_batch": 25,
    "pred_iou_thresh": 0.05,
    "stability_score_thresh": 0.52,
    "stability_score_offset": 0.3,
    "mask_threshold": 3.0,
    "box_nms_thresh": 0.98,
}
# With filled weights masks are spread over the picture, and so are their boxes: only little less than equal ones stay.


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Drive a model, and answer with logits and masks of three pairs.

    Args:
        request: "driver", a key of `_DRIVERS`; "variant"; "size", the side of the model's images.
        tensors: none.

    Returns:
        Nothing, and for "upstream" (both are), "model" (ours in upstream's driver) and "driver" (upstream's in ours)
        what the driver's function gives, by names that begin with these.
    """
    torchvision_operators.declare_missing()
    theirs = filled(models.model(request["variant"], request["size"], {}))
    ours = assemble(request["variant"], image_size=request["size"]).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    run = _DRIVERS[request["driver"]]
    pairs = {
        "upstream": (True, theirs),
        "model": (True, ours),
        "driver": (False, theirs),
        "ours": (False, ours),
    }
    return {}, {
        f"{name}.{key}": value
        for name, (upstream, model) in pairs.items()
        for key, value in run(upstream, model).items()
    }


def _predicted(predictor: Any) -> dict[str, Tensor]:
    """A click, a box and a click on its answer: logits, masks and scores."""
    shown = np.ascontiguousarray(photograph()[::_STEP, ::_STEP])
    height, width = shown.shape[:2]
    predictor.set_image(shown)
    click: dict[str, Any] = {
        "point_coords": np.array([[0.4 * width, 0.6 * height]]),
        "point_labels": np.array([1]),
    }
    box: dict[str, Any] = {
        "box": np.array([0.2 * width, 0.3 * height, 0.8 * width, 0.9 * height]),
        "multimask_output": False,
    }
    found: dict[str, Tensor] = {}
    _, scores, low_res = predictor.predict(**click)
    again = {**click, "mask_input": low_res[:1], "multimask_output": False}
    for name, prompt in {"click": click, "box": box, "again": again}.items():
        logits, scores, _ = predictor.predict(**prompt, return_logits=True)
        masks, _, _ = predictor.predict(**prompt)
        found[f"{name}.logits"], found[f"{name}.scores"] = torch.from_numpy(logits), torch.from_numpy(scores)
        found[f"{name}.masks"] = torch.from_numpy(masks) > 0.5
    return found


def _sam_predictor(upstream: bool, model: Any) -> dict[str, Tensor]:
    return _predicted(predictors.sam(model) if upstream else predict.SamPredictor(model))


def _sam2_predictor(upstream: bool, model: Any) -> dict[str, Tensor]:
    return _predicted(predictors.sam2(model) if upstream else predict.SAM2ImagePredictor(model))


def _generated(generator: Any, threshold: float) -> dict[str, Tensor]:
    """All records of a picture, in their order, and the logits that their masks were decided by.

    A generator gives masks alone: each record's point is asked once more, in its crop, and of the logits that come
    those are taken whose mask is the record's.
    """
    shown = np.ascontiguousarray(photograph()[::_STEP, ::_STEP])
    records = generator.generate(shown)
    logits = []
    for record in records:
        left, top, width, height = (round(side) for side in record["crop_box"])
        generator.predictor.set_image(np.ascontiguousarray(shown[top : top + height, left : left + width]))
        point = np.array(record["point_coords"]) - (left, top)
        found, _, _ = generator.predictor.predict(point, np.array([1]), return_logits=True)
        whole = np.full((len(found), *shown.shape[:2]), -np.inf, found.dtype)
        whole[:, top : top + height, left : left + width] = found - threshold
        differing = ((whole > 0) != record["segmentation"]).sum(axis=(1, 2))
        logits.append(torch.from_numpy(whole[differing.argmin()]))
    numbers = [
        [*record["bbox"], *record["point_coords"][0], *record["crop_box"], record["area"]]
        for record in records
    ]
    scores = [[record["predicted_iou"], record["stability_score"]] for record in records]
    return {
        "masks": torch.from_numpy(np.stack([record["segmentation"] for record in records])),
        "logits": torch.stack(logits),
        "places": torch.tensor(numbers, dtype=torch.float64),
        "scores": torch.tensor(scores, dtype=torch.float64),
    }


def _sam_generator(upstream: bool, model: Any) -> dict[str, Tensor]:
    model.mask_threshold = _SAM_THRESHOLD
    make = generators.sam if upstream else predict.SamAutomaticMaskGenerator
    return _generated(make(model, **_SAM_GENERATOR), _SAM_THRESHOLD)


def _sam2_generator(upstream: bool, model: Any) -> dict[str, Tensor]:
    make = generators.sam2 if upstream else predict.SAM2AutomaticMaskGenerator
    return _generated(make(model, **_SAM2_GENERATOR), _SAM2_GENERATOR["mask_threshold"])


_DRIVERS: dict[str, Callable[[bool, Any], dict[str, Tensor]]] = {
    "SamPredictor": _sam_predictor,
    "SAM2ImagePredictor": _sam2_predictor,
    "SamAutomaticMaskGenerator": _sam_generator,
    "SAM2AutomaticMaskGenerator": _sam2_generator,
}
