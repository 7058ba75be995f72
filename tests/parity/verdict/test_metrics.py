"""Distances between tensors, on values that can be worked out by hand."""

import math

import pytest
import torch

from parity.verdict.compare import Verdict, compare
from parity.verdict.metrics import cosine, measure, ulp_distance

ONE = torch.tensor([3.0, -4.0])


def test_distances_of_a_known_error() -> None:
    found = measure(torch.tensor([3.0, -4.5]), ONE)
    assert found is not None
    assert found.relative_rms == pytest.approx(0.5 / 5.0)
    assert found.sqnr == pytest.approx(20.0)
    assert found.psnr == pytest.approx(10 * math.log10(16 / (0.25 / 2)))
    assert found.cosine == pytest.approx(27.0 / (5.0 * math.hypot(3.0, 4.5)))
    assert found.ulp_max == round(0.5 / 2**-21)
    assert found.ulp_99 == found.ulp_max


def test_equal_tensors_are_no_distance_apart() -> None:
    found = measure(ONE, ONE.clone())
    assert found is not None
    assert (found.relative_rms, found.ulp_max, found.ulp_99, found.cosine) == (0.0, 0, 0, 1.0)
    assert found.sqnr == found.psnr == math.inf


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_neighbours_are_one_unit_apart(dtype: torch.dtype) -> None:
    x = torch.tensor([1.0, -1.0, 1.5], dtype=dtype)
    step = torch.tensor([1.0, -1.0, 1.5], dtype=dtype) * (1 + torch.finfo(dtype).eps)
    assert ulp_distance(step, x).tolist()[:2] == [1, 1]


def test_units_are_counted_across_zero_and_not_near_it() -> None:
    least = torch.finfo(torch.float32).smallest_normal * torch.finfo(torch.float32).eps
    assert ulp_distance(torch.tensor([least]), torch.tensor([-least])).tolist() == [2]
    assert ulp_distance(torch.tensor([1.0, 1e-30]), torch.tensor([1.0, 1e-9])).tolist() == [0]


def test_ninety_nine_in_a_hundred_are_told_from_the_largest() -> None:
    reference = torch.ones(200)
    ours = reference.clone()
    ours[0] = 2.0
    ours[1:3] = 1.0 + torch.finfo(torch.float32).eps
    found = measure(ours, reference)
    assert found is not None
    assert (found.ulp_max, found.ulp_99) == (2**23, 1)


def test_what_cannot_be_measured_is_not() -> None:
    assert measure(torch.tensor([1]), torch.tensor([1])) is None
    assert measure(torch.ones(2), torch.ones(3)) is None
    assert measure(torch.empty(0), torch.empty(0)) is None
    assert measure(torch.tensor([math.nan]), torch.ones(1)) is None


def test_cosine_of_nothing() -> None:
    assert cosine(torch.zeros(2), torch.zeros(2)) == 1.0
    assert cosine(torch.zeros(2), torch.ones(2)) == 0.0
    assert cosine(torch.tensor([math.inf, 1.0]), torch.ones(2)) == 0.0


def test_a_comparison_carries_them() -> None:
    truth = torch.tensor([1.0, 2.0], dtype=torch.float64)
    result = compare(torch.tensor([1.0, 2.0001]), torch.tensor([1.0, 2.0002]), truth)
    assert result.verdict is Verdict.WITHIN
    assert result.metrics is not None
    assert result.metrics.relative_rms == pytest.approx(1e-4 / math.sqrt(5), rel=1e-2)
