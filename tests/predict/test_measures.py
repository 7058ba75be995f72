"""Boxes and stability scores against counting pixel by pixel."""

import numpy as np
import torch

from samblocks.predict.measures import batched_mask_to_box, calculate_stability_score


def test_boxes_of_random_and_of_empty_masks() -> None:
    draw = torch.Generator().manual_seed(0)
    masks = torch.rand(5, 4, 9, 7, generator=draw) < torch.rand(5, 4, 1, 1, generator=draw) * 0.2
    boxes = batched_mask_to_box(masks)
    assert boxes.dtype == torch.int64
    seen = set()
    for mask, box in zip(masks.flatten(0, 1), boxes.flatten(0, 1), strict=True):
        rows, columns = np.nonzero(mask.numpy())
        seen.add(len(rows) > 0)
        expected = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else [0, 0, 0, 0]
        assert box.tolist() == expected
    assert seen == {True, False}
    assert batched_mask_to_box(masks[0, 0]).shape == (4,)
    assert batched_mask_to_box(torch.zeros(0, 3, 3, dtype=torch.bool)).shape == (0, 4)
    assert batched_mask_to_box(torch.zeros(2, 0, 3, dtype=torch.bool)).tolist() == [[0] * 4] * 2


def test_stability_divides_two_areas() -> None:
    logits = torch.tensor([[[-1.5, -1.0, -0.9, 0.0, 1.0, 1.1, 9.0]]])
    # Above 1: 2 pixels; above -1: 5.
    assert calculate_stability_score(logits, 0.0, 1.0).tolist() == [torch.tensor(2 / 5).item()]
    assert calculate_stability_score(logits, 1.0, 0.05).tolist() == [torch.tensor(2 / 3).item()]
    assert calculate_stability_score(logits, 0.0, 0.0).tolist() == [1.0]
    empty = calculate_stability_score(torch.full((2, 3, 4), -5.0), 0.0, 1.0)
    assert empty.shape == (2,)
    assert empty.isnan().all()


def test_masks_wider_than_an_int16() -> None:
    wide = torch.ones(1, 1, 40_000)
    wide[..., :10] = 0.0
    assert calculate_stability_score(wide, 0.0, 0.5).item() == np.float32(39_990 / 40_000)
