"""Verdicts, on tensors whose right verdict can be worked out by hand."""

import pytest
import torch

from samblocks.numerics.verdict import Verdict, compare, compare_double, greatest_difference

TRUTH = torch.tensor([1.0, -2.0, 3.0, 4.0], dtype=torch.float64)


def off(*errors: float) -> torch.Tensor:
    return (TRUTH + torch.tensor(errors, dtype=torch.float64)).float()


def test_equal_bits_are_exact() -> None:
    assert compare(off(1e-3, 0, 0, 0), off(1e-3, 0, 0, 0), TRUTH).verdict is Verdict.EXACT


def test_ratio_is_our_error_over_upstreams() -> None:
    result = compare(off(0.03, 0, 0, 0), off(0.02, 0, 0, 0), TRUTH)
    assert result.verdict is Verdict.WITHIN
    assert result.ratio == pytest.approx(1.5, rel=1e-4)
    assert result.index == (0,)
    assert result.max_abs == pytest.approx(0.01, rel=1e-4)


def test_an_error_above_the_bound_diverged() -> None:
    result = compare(off(0.05, 0, 0, 0), off(0.02, 0, 0, 0), TRUTH)
    assert result.verdict is Verdict.DIVERGED
    assert result.ratio == pytest.approx(2.5, rel=1e-4)


def test_a_bias_too_small_for_absolute_tolerances_is_caught() -> None:
    upstream = off(1e-7, -1e-7, 1e-7, 0)
    assert torch.allclose(TRUTH.float() + 5e-6, upstream, atol=1e-4, rtol=0)
    assert compare((TRUTH + 5e-6).float(), upstream, TRUTH).verdict is Verdict.DIVERGED


def test_an_exact_upstream_does_not_make_rounding_noise_diverge() -> None:
    one_ulp = torch.nextafter(TRUTH.float(), torch.tensor(10.0))
    one_ulp[1:] = TRUTH.float()[1:]
    result = compare(one_ulp, TRUTH.float(), TRUTH)
    assert result.verdict is Verdict.NOISE
    assert result.ratio is not None
    assert 0 < result.ratio <= 2


def test_shape_and_dtype_must_agree() -> None:
    assert compare(torch.ones(2, 3), torch.ones(3, 2), None).verdict is Verdict.INCOMPARABLE
    assert compare(torch.ones(2), torch.ones(2, dtype=torch.float64), None).verdict is Verdict.INCOMPARABLE


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_not_finite_diverge(bad: float) -> None:
    ours = off(0, 0, 0, 0)
    ours[2] = bad
    result = compare(ours, off(1e-3, 0, 0, 0), TRUTH)
    assert result.verdict is Verdict.DIVERGED
    assert result.index == (2,)


def test_the_same_nan_in_the_same_place_is_equal() -> None:
    both = torch.tensor([1.0, float("nan")])
    assert compare(both, both.clone(), None).verdict is Verdict.EXACT


def test_data_movement_must_be_bit_equal() -> None:
    assert compare(off(0, 0, 0, 1e-6), off(0, 0, 0, 0), TRUTH, exact=True).verdict is Verdict.DIVERGED


def test_integers_and_booleans_must_be_equal() -> None:
    assert compare(torch.tensor([1, 2]), torch.tensor([1, 3]), None).verdict is Verdict.DIVERGED
    assert compare(torch.tensor([True]), torch.tensor([True]), None).verdict is Verdict.EXACT


def test_double_is_judged_relative_to_the_largest_value() -> None:
    assert compare_double(TRUTH + 3.9e-12, TRUTH, bound=1e-12).verdict is Verdict.WITHIN
    assert compare_double(TRUTH + 4.1e-12, TRUTH, bound=1e-12).verdict is Verdict.DIVERGED
    assert compare_double(TRUTH.clone(), TRUTH, bound=1e-12).verdict is Verdict.EXACT


def test_greatest_difference_of_scalars_and_of_nan() -> None:
    assert greatest_difference(torch.tensor(1.0), torch.tensor(3.0)) == (2.0, ())
    value, index = greatest_difference(torch.tensor([[0.0, float("nan")]]), torch.zeros(1, 2))
    assert value == float("inf")
    assert index == (0, 1)


def test_an_empty_output_is_equal_to_itself() -> None:
    assert compare(torch.empty(0, 4), torch.empty(0, 4), torch.empty(0, 4)).verdict is Verdict.EXACT


INF, NAN = float("inf"), float("nan")


def test_the_same_infinities_and_nans_are_equal() -> None:
    both = torch.tensor([INF, -INF, NAN, 1.0])
    assert compare(both, both.clone(), None).verdict is Verdict.EXACT
    truth = torch.tensor([-INF, 1.0, 2.0], dtype=torch.float64)
    found = compare(
        truth.float() + torch.tensor([0, 1e-7, 0]), truth.float() + torch.tensor([0, 0, 2e-7]), truth
    )
    assert found.verdict is not Verdict.DIVERGED
    assert found.ratio is not None
    assert found.ratio < 2
    assert found.index == (2,)


def test_other_infinities_are_named() -> None:
    truth = torch.tensor([-INF, 1.0], dtype=torch.float64)
    found = compare(torch.tensor([INF, 1.0]), truth.float(), truth)
    assert found.verdict is Verdict.DIVERGED
    assert found.index == (0,)
    assert "ours inf, -inf" in found.cause


def test_infinity_is_not_the_largest_number() -> None:
    largest = torch.full((2,), 65504.0, dtype=torch.float16)
    infinite = torch.full((2,), INF, dtype=torch.float16)
    assert compare(largest, infinite, infinite.double()).verdict is Verdict.DIVERGED


def test_nothing_but_nan_is_no_agreement() -> None:
    nothing = torch.full((3,), NAN)
    assert compare(nothing, nothing.clone(), nothing.double()).verdict is Verdict.INCOMPARABLE
    assert compare_double(nothing.double(), nothing.double(), bound=1e-12).verdict is Verdict.INCOMPARABLE


def test_complex_outputs_are_judged() -> None:
    truth = torch.complex(TRUTH, -TRUTH)
    theirs = truth.to(torch.complex64) + 1e-7j
    assert compare(truth.to(torch.complex64) + 2e-7j, theirs, truth).verdict is not Verdict.DIVERGED
    found = compare(truth.to(torch.complex64) + 1e-5j, theirs, truth)
    assert (found.verdict, found.ratio is not None and found.ratio > 20) == (Verdict.DIVERGED, True)
    assert compare_double(truth + 1e-13j, truth, bound=1e-12).verdict is Verdict.WITHIN
    assert compare_double(truth + 1e-10j, truth, bound=1e-12).cause.startswith("another function")


def test_a_lost_pixel_counts_in_a_low_precision() -> None:
    truth = torch.linspace(1, 2, 4096, dtype=torch.float64)
    theirs = truth.bfloat16()
    ours = theirs.clone()
    ours[7] = 0.0
    found = compare(ours, theirs, truth)
    assert found.ratio is not None
    assert found.worst is not None
    assert found.worst > 4
    assert found.verdict is Verdict.DIVERGED
    assert compare(theirs.clone(), theirs, truth).verdict is Verdict.EXACT


def test_the_error_of_another_implementation_is_honest() -> None:
    truth = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    ours, lucky = truth.float() + 3e-6, truth.float() + torch.tensor([3e-7, 0.0, 0.0])
    assert compare(ours, lucky, truth).verdict is Verdict.DIVERGED
    assert compare(ours, lucky, truth, honest=1e-6).verdict is Verdict.NOISE
    assert compare(ours + 1e-5, lucky, truth, honest=1e-6).verdict is Verdict.DIVERGED
    rough = truth.float() + 1e-6
    assert compare(ours, rough, truth) == compare(ours, rough, truth, honest=1e-8)
