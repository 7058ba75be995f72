"""Pixels that flip in a swapped driver: judged by the logits that the driver itself decided by."""

from typing import Any

import torch
from torch import Tensor

from parity.references.hosts.driver import RecordedThreshold, Result
from parity.references.hosts.drivers_ultralytics import _RecordedOverlaps
from parity.references.hosts.measure import _flips


def test_a_threshold_remembers_what_it_is_compared_with() -> None:
    threshold = RecordedThreshold(0.5)
    logits = torch.tensor([[[0.25, 0.75]]])
    masks = logits > threshold
    assert masks.tolist() == [[[False, True]]]
    assert bool((torch.zeros(3) < threshold).all())  # of another size: not those that masks follow from
    assert threshold.take(masks).tolist() == [[[-0.25, 0.25]]]
    assert threshold.recorded == []


def constrained(logits: Tensor) -> Tensor:
    best = logits.argmax(0, keepdim=True)
    keep = torch.arange(len(logits))[:, None, None, None] == best
    return torch.where(keep, logits, logits.clamp(max=-10.0))


def test_overlaps_are_decided_by_the_next_best() -> None:
    overlaps = _RecordedOverlaps(constrained, 0.0)
    logits = torch.tensor([[3.0, -1.0, 5.0], [2.0, -2.0, 5.5]])[:, None, None]
    masks = (overlaps(logits) > 0)[:, 0]
    margins = overlaps.take(masks)
    assert margins[:, 0].tolist() == [[1.0, -1.0, -0.5], [-1.0, -2.0, 0.5]]
    assert torch.equal(margins > 0, masks)


def flips(host: Result, ours: Result, threshold: float | None = None) -> tuple[dict[str, Any], list[str]]:
    failures: list[str] = []
    return _flips(host, ours, threshold, failures), failures


def test_a_pixel_may_flip_within_the_difference_alone() -> None:
    host = torch.tensor([[[1e-6, -5.0, 5.0]]])
    near, far = torch.tensor([[[-1e-6, -5.0, 5.0]]]), torch.tensor([[[-1e-6, 5.0, 5.0]]])
    for threshold, made in ((0.0, Result), (None, lambda x: Result(x > 0, (), x))):
        found, failures = flips(made(host), made(near), threshold)
        assert (found["flipped"], failures) == (1, [])
        assert flips(made(host), made(far), threshold)[1]
    wrong = Result(host < 0, (), host)
    assert "not those that the masks follow from" in flips(Result(host > 0, (), host), wrong)[1][0]
    assert "gives no logits" in flips(Result(host > 0), Result(near > 0))[1][0]


def test_where_both_sides_round_coarsely_float64_alone_says_how_much_is_too_much() -> None:
    host = torch.tensor([[[1.0, -5.0, 5.0]]])
    coarse = host * 1.01
    failures: list[str] = []
    assert "logits differ" in flips(Result(host), Result(coarse), 0.0)[1][0]
    _flips(Result(host), Result(coarse), 0.0, failures, coarse=True)
    assert not failures
    _flips(Result(host, (), host), Result(coarse, (), coarse), 0.0, failures, coarse=True)
    assert not failures
    _flips(Result(host > 0), Result(host > 2), None, failures, coarse=True)
    assert not failures
