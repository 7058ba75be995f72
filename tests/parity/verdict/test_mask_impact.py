"""`parity.verdict.mask_impact`: what a difference of outputs does to masks, choices and objects."""

import math

import pytest
import torch
from torch import Tensor

from parity.verdict import mask_impact
from parity.verdict.mask_impact import Choices, Masks, Signs


def square() -> Tensor:
    """Logits: 2 inside an 8 x 8 square of a 20 x 20 map, -2 outside."""
    logits = torch.full((1, 1, 20, 20), -2.0)
    logits[..., 6:14, 6:14] = 2.0
    return logits


def test_equal_masks() -> None:
    assert mask_impact.impact("low_res_masks", square(), square(), square().double()) == Masks(
        400, 0, 0, 1.0, None
    )


def test_a_pixel_at_the_edge_that_rounding_explains() -> None:
    ours, upstream, truth = square(), square(), square().double()
    ours[0, 0, 6, 6], upstream[0, 0, 6, 6], truth[0, 0, 6, 6] = -1e-6, 1e-6, 2e-6
    upstream[0, 0, 0, 0] += 1e-3  # upstream's own error
    found = mask_impact.impact("click/masks", ours, upstream, truth)
    assert isinstance(found, Masks)
    assert (found.flipped, found.unexplained, found.distance) == (1, 0, 1.0)
    assert found.iou == pytest.approx(63 / 64)


def test_a_hole_in_the_middle_is_beyond_rounding() -> None:
    ours = square()
    ours[0, 0, 9:11, 9:11] = -2.0
    found = mask_impact.impact("masks", ours, square(), square().double())
    assert isinstance(found, Masks)
    assert (found.flipped, found.unexplained, found.distance) == (4, 4, 4.0)
    assert found.iou == pytest.approx(60 / 64)


def test_distance_counts_from_the_edge_outside_too() -> None:
    ours = square()
    ours[0, 0, 0, 10] = 1.0
    found = mask_impact.impact("masks", ours, square())
    assert isinstance(found, Masks)
    assert found.distance == 6.0
    assert found.unexplained == 1


def test_a_mask_without_an_edge() -> None:
    upstream = torch.full((1, 2, 5, 4), -1.0)
    ours = upstream.clone()
    ours[0, 1, 2, 2] = 1.0
    found = mask_impact.impact("masks", ours, upstream)
    assert isinstance(found, Masks)
    assert found.distance == math.inf
    assert found.iou == 0.0
    assert mask_impact.as_json(found)["distance"] == "inf"


def test_only_masks_that_differ_are_measured() -> None:
    ours, upstream = square().repeat(3, 2, 1, 1), square().repeat(3, 2, 1, 1)
    ours[2, 1, 6, 6] = -1.0
    found = mask_impact.impact("decoded_3", ours, upstream)
    assert isinstance(found, Masks)
    assert (found.pixels, found.flipped, found.distance) == (2400, 1, 1.0)
    assert found.iou == pytest.approx(63 / 64)


def test_choices() -> None:
    upstream = torch.tensor([[0.1, 0.9, 0.3], [0.5, 0.2, 0.4]])
    ours = torch.tensor([[0.1, 0.9, 0.3], [0.4, 0.2, 0.5]])
    assert mask_impact.impact("ious", ours, upstream) == Choices(2, 1)
    assert mask_impact.impact("iou_predictions", upstream, upstream) == Choices(2, 0)
    assert mask_impact.impact("ious", ours[:, :1], upstream[:, :1]) is None


def test_each_prompt_chooses_for_itself() -> None:
    # Two prompts with three masks each, then two with one: four prompts, of which the first two choose.
    masks = {"click/masks": torch.zeros(2, 3, 4, 4), "box/masks": torch.zeros(2, 1, 4, 4)}
    upstream = torch.tensor([0.1, 0.9, 0.3, 0.2, 0.1, 0.4, 0.99, 0.5])
    ours = torch.tensor([0.1, 0.9, 0.3, 0.5, 0.1, 0.4, 0.5, 0.99])
    assert mask_impact.impact("ious", ours, upstream, among=masks) == Choices(2, 1)
    # The largest of all eight is at another place on each side, but nobody chooses between prompts.
    swapped = torch.tensor([0.1, 0.9, 0.3, 0.2, 0.1, 0.4, 0.5, 0.99])
    assert mask_impact.impact("ious", swapped, upstream, among=masks) == Choices(2, 0)
    # Masks that do not add up tell nothing.
    assert mask_impact.impact("ious", ours[:3], upstream[:3], among=masks) == Choices(1, 0)


def test_each_frame_and_object_chooses_for_itself() -> None:
    # Two objects over three steps, of which the second step gives one mask: [B, 3 + 1 + 3].
    upstream = torch.tensor([[0.1, 0.9, 0.3, 0.99, 0.2, 0.1, 0.4], [0.7, 0.2, 0.3, 0.1, 0.6, 0.5, 0.4]])
    ours = upstream.clone()
    ours[1, 4:] = torch.tensor([0.4, 0.5, 0.6])
    ours[0, 3] = 0.0
    widths = {"ious_widths": torch.tensor([3, 1, 3])}
    assert mask_impact.impact("ious", ours, upstream, among=widths) == Choices(4, 1)
    assert mask_impact.impact("ious", upstream, upstream, among=widths) == Choices(4, 0)
    only_single = {"ious_widths": torch.ones(7, dtype=torch.int64)}
    assert mask_impact.impact("ious", ours, upstream, among=only_single) is None


def test_the_widths_that_a_tracked_case_tells_fit_its_qualities() -> None:
    from parity.cases.drive import Stacks

    stacks = Stacks()
    for width in (3, 1, 3):
        stacks.add("ious", torch.rand(2, width))
    found = stacks.stacked()
    assert found["ious"].shape == (2, 7)
    assert found["ious_widths"].tolist() == [3, 1, 3]
    assert mask_impact.impact("ious", found["ious"], found["ious"].flip(0), among=found) is not None


def test_scores_are_counted_object_by_object() -> None:
    # Three steps with two objects, and scores of prompts in a row: each number is one object's.
    upstream = torch.tensor([[[1.0], [-1.0]], [[2.0], [-2.0]], [[-3.0], [3.0]]])
    ours = upstream.clone()
    ours[1] *= -1
    assert mask_impact.impact("object_score_logits", ours, upstream) == Signs(6, 2)
    assert mask_impact.impact("scores", ours.flatten(), upstream.flatten()) == Signs(6, 2)


def test_signs() -> None:
    upstream, ours = torch.tensor([[1.0], [-0.1], [3.0]]), torch.tensor([[1.1], [0.1], [3.0]])
    assert mask_impact.impact("object_score_logits", ours, upstream) == Signs(3, 1)


@pytest.mark.parametrize("path", ["image_encoder", "mask_tokens", "maskmem_features", "tokens_4", "sparse"])
def test_other_outputs_decide_nothing(path: str) -> None:
    assert mask_impact.impact(path, square(), -square()) is None


def test_unlike_outputs_are_left_to_the_verdict() -> None:
    assert mask_impact.impact("masks", square(), square()[..., :10]) is None
    assert mask_impact.impact("masks", square().long(), square().long()) is None


def test_together() -> None:
    line = mask_impact.together(
        [Masks(400, 2, 1, 0.98, 1.0), Masks(100, 0, 0, 1.0, None), Choices(4, 1), Signs(3, 0)]
    )
    assert line == (
        "2 of 500 pixels flip (0.004), 1 beyond upstream's own error, mask IoU at least 0.980000, at most 1 px "
        "from the edge; another mask is predicted to be the best in 1 of 4; the same objects are seen"
    )
    assert mask_impact.together([Masks(7, 0, 0, 1.0, None)]) == "no pixel of 7 flips"
    assert mask_impact.together([]) == ""


def test_a_run_tells_the_impact_of_whole_models_in_text_and_json() -> None:
    from parity.reports import overview, summary
    from parity.run.judging import Row
    from parity.verdict.compare import Comparison, Verdict

    row = Row("SAM2Model/x", "meta", "float32", "masks", Comparison(Verdict.WITHIN, 1.0, 0.1, (0,)))
    told = Row("SAM2Model/x", "meta", "float32", "masks", row.comparison, Masks(400, 4, 0, 0.99, 1.0))
    assert "4 of 400 pixels flip (0.01)" in "\n".join(
        line.rest for line in overview.lines([row, told], overview.Ran(1, 1.0, {}, (), 0), every_row=True)
    )
    fields = ["id", "reference", "dtype", "output", "verdict", "ratio", "max_abs", "index", "cause"]
    assert list(summary.record(row)) == fields
    assert list(summary.record(told)) == [*fields, "impact"]
    assert summary.record(told)["impact"] == {
        "kind": "masks",
        "pixels": 400,
        "flipped": 4,
        "unexplained": 0,
        "iou": 0.99,
        "distance": 1.0,
    }
