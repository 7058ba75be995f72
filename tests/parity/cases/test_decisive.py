"""Cases in which a comparison decides about whole outputs: no two sides of it are so near that rounding would decide.

What is compared lies inside a model or a driver, so that a case's own check of its outputs cannot see it.
"""

import pytest
import torch
from torch import Tensor

from parity.cases import find
from parity.execution.execute import execute
from parity.run.samblocks_library import library
from samblocks.models import SAM2Model
from samblocks.predict import generator
from samblocks.predict.candidates import judge


@pytest.mark.parametrize("block", ["blobs_by_sam", "blobs_by_sam2"])
def test_no_pixel_is_between_mask_and_background(block, monkeypatch):
    nearest: list[float] = []

    def watched(logits, predicted_iou, points, crop, size, thresholds):
        offset = thresholds.stability_offset
        for threshold in (thresholds.mask, thresholds.mask + offset, thresholds.mask - offset):
            nearest.append(float((logits - threshold).abs().min()))
        return judge(logits, predicted_iou, points, crop, size, thresholds)

    monkeypatch.setattr(generator, "judge", watched)
    case = find(f"{block}/nobody_is_judged")
    execute(case, library(), case.tensors(), dtype=torch.float32)
    assert min(nearest) > 5e-5, f"a logit is {min(nearest):.1e} from a threshold"


def test_no_pixel_is_between_two_objects(monkeypatch):
    leads: list[float] = []
    constrained = SAM2Model._apply_non_overlapping_constraints

    def watched(masks: Tensor) -> Tensor:
        first, second = masks.topk(2, dim=0).values
        fought_for = second > -10.0  # else the loser keeps what it has
        leads.append(float((first - second)[fought_for].min()))
        return constrained(masks)

    monkeypatch.setattr(SAM2Model, "_apply_non_overlapping_constraints", staticmethod(watched))
    case = find("SAM2Model/small_three_objects")
    execute(case, library(), case.tensors(), dtype=torch.float64)
    assert len(leads) == 3
    assert min(leads) > 2e-5, f"one object leads by {min(leads):.1e}"
