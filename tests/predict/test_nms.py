"""Suppression against the definition, box by box in float32 and double as compiled code has it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samblocks.predict.nms import nms


def one_by_one(boxes: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Visit boxes by falling score, equal ones in their order; drop what a kept one overlaps by more."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index].item())
    corners = boxes.numpy().astype(np.float32)
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in corners]
    kept: list[int] = []
    with np.errstate(invalid="ignore"):
        for one in order:
            overlaps = []
            for other in kept:
                low, high = np.maximum(corners[one], corners[other]), np.minimum(corners[one], corners[other])
                shared = max(high[2] - low[0], np.float32(0)) * max(high[3] - low[1], np.float32(0))
                overlaps.append(float(shared / (area[other] + area[one] - shared)))
            if not any(overlap > threshold for overlap in overlaps):
                kept.append(one)
    return kept


def drawn(count: int, side: int, scores: int, seed: int) -> tuple[Tensor, Tensor]:
    """Boxes with whole corners, some without area, and few different scores."""
    draw = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, side, (count, 2, 2), generator=draw).sort(1).values
    return corners.flatten(1), torch.randint(0, scores, (count,), generator=draw) / scores


@given(
    st.integers(0, 60),
    st.sampled_from([3, 12, 300]),
    st.sampled_from([1, 4, 1000]),
    st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0]),
    st.integers(0, 2**31),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_what_stays(count: int, side: int, levels: int, threshold: float, seed: int) -> None:
    boxes, scores = drawn(count, side, levels, seed)
    assert nms(boxes, scores, threshold).tolist() == one_by_one(boxes, scores, threshold)


def test_ties_among_many_boxes_stay_in_order() -> None:
    boxes, scores = drawn(1500, 500, 3, seed=0)
    kept = nms(boxes, scores, 0.3)
    assert kept.tolist() == one_by_one(boxes, scores, 0.3)
    assert len(kept) > 256  # more than are looked at in one go
    apart = torch.arange(3000)[:, None] * 10 + torch.tensor([0, 0, 5, 5])
    assert nms(apart, torch.ones(3000), 0.0).tolist() == list(range(3000))


def test_boxes_without_area_are_no_duplicates() -> None:
    column = torch.tensor([[3, 0, 3, 9]] * 3)
    assert nms(column, torch.tensor([0.1, 0.3, 0.2]), 0.0).tolist() == [1, 2, 0]


def test_an_overlap_of_just_the_threshold_stays() -> None:
    halves = torch.tensor([[0, 0, 2, 1], [0, 0, 1, 1]])
    assert nms(halves, torch.tensor([0.9, 0.1]), 0.5).tolist() == [0, 1]
    # A tenth in float32 is more than a tenth in double.
    tenths = torch.tensor([[0, 0, 10, 1], [0, 0, 1, 1]])
    assert nms(tenths, torch.tensor([0.9, 0.1]), 0.1).tolist() == [0]
    sevenths = torch.tensor([[0, 0, 10, 1], [0, 0, 7, 1]])  # here it is less
    assert nms(sevenths, torch.tensor([0.9, 0.1]), 0.7).tolist() == [0, 1]


def test_shapes_are_checked() -> None:
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)
    with pytest.raises(ValueError, match=r"found \[2, 4\] and \[3\]"):
        nms(torch.zeros(2, 4), torch.zeros(3), 0.5)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    boxes, scores = drawn(500, 100, 5, seed=1)
    kept = nms(boxes.cuda(), scores.cuda(), 0.4)
    assert kept.is_cuda
    assert kept.tolist() == nms(boxes, scores, 0.4).tolist()
