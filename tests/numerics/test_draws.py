"""The rule over several draws, on ratios whose right verdict can be worked out by hand."""

import math
from collections.abc import Mapping

import pytest
import torch

from samblocks.numerics.draws import settle, undecided
from samblocks.numerics.rule import FEW, MANY, geometric_mean
from samblocks.numerics.verdict import Comparison, Verdict, compare


def alarm(ratio: float) -> Comparison:
    return Comparison(Verdict.DIVERGED, ratio, 1e-7, (0,), "R is above 2")


def judged(first: float, others: list[float], bound: float = 2.0) -> tuple[Comparison, int]:
    """The settled comparison and how many draws were made."""
    asked = 0

    def draw(number: int) -> Mapping[str, Comparison]:
        nonlocal asked
        asked += 1
        ratio = others[(number - 1) % len(others)]
        return {"out": Comparison(Verdict.WITHIN if ratio <= bound else Verdict.DIVERGED, ratio)}

    return settle({"out": alarm(first)}, draw, {"out": bound})["out"], asked


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.9, False), (2.0, False), (2.01, True), (50.0, True), (50.1, False)]
)
def test_a_first_alarm_is_between_the_bound_and_fifty(ratio: float, expected: bool) -> None:
    verdict = Verdict.WITHIN if ratio <= 2 else Verdict.DIVERGED
    assert undecided(Comparison(verdict, ratio), 2.0) is expected


def test_a_lucky_reference_is_not_held_against_ours() -> None:
    found, asked = judged(4.3, [1.0, 1.2, 0.9])
    assert (found.verdict, found.draws, asked) == (Verdict.WITHIN, FEW, FEW)
    assert found.ratio == pytest.approx((1.0**3 * 1.2**3 * 0.9**2) ** (1 / 8))
    assert "4.3 in the first draw" in found.cause


def test_an_error_that_stays_is_found() -> None:
    found, asked = judged(2.5, [2.5])
    assert (found.verdict, found.draws, asked) == (Verdict.DIVERGED, FEW, FEW)
    assert found.cause.startswith(
        "the same function, less precise: R 2.5 in the first draw, 2.5 over 8 others"
    )


@pytest.mark.parametrize(("later", "verdict"), [(1.5, Verdict.WITHIN), (1.9, Verdict.DIVERGED)])
def test_what_eight_leave_open_sixteen_decide(later: float, verdict: Verdict) -> None:
    found, asked = judged(3.0, [1.85] * 8 + [later] * 8)
    assert (found.verdict, found.draws, asked) == (verdict, MANY, MANY)


def test_the_first_draw_is_not_counted() -> None:
    assert judged(49.0, [1.69])[0].verdict is Verdict.WITHIN


def test_lucky_draws_of_ours_hide_nothing() -> None:
    assert geometric_mean([0.0, 2.0]) == pytest.approx(1.0)
    assert judged(3.0, [0.0, 9.0])[0].verdict is Verdict.DIVERGED  # √(0.5 · 9) = 2.1


def test_another_bound_scales_the_limits() -> None:
    assert judged(4.5, [3.3], bound=4.0)[0].verdict is Verdict.WITHIN
    assert judged(4.5, [4.1], bound=4.0)[0].verdict is Verdict.DIVERGED


def test_a_draw_that_is_not_finite_on_our_side_fails_at_once() -> None:
    truth = torch.ones(3, dtype=torch.float64)
    bad = compare(torch.tensor([1.0, math.nan, 1.0]), truth.float(), truth)

    def draw(number: int) -> Mapping[str, Comparison]:
        return {"out": bad if number == 3 else Comparison(Verdict.WITHIN, 1.0)}

    found = settle({"out": alarm(3.0)}, draw)["out"]
    assert found.verdict is Verdict.DIVERGED
    assert "in draw 3: ours has values that are not finite" in found.cause


def test_what_cannot_be_varied_is_left_to_float64() -> None:
    assert settle({"out": alarm(3.0)}, lambda number: {}) == {}
    found = settle({"out": alarm(3.0)}, lambda number: {}, same={"out"})["out"]
    assert (found.verdict, found.cause) == (Verdict.WITHIN, "one draw, R 3: decided by float64")


def test_outputs_are_decided_one_by_one() -> None:
    def draw(number: int) -> Mapping[str, Comparison]:
        return {"good": Comparison(Verdict.EXACT), "bad": Comparison(Verdict.DIVERGED, 9.0)}

    found = settle({"good": alarm(3.0), "bad": alarm(3.0)}, draw)
    assert (found["good"].verdict, found["bad"].verdict) == (Verdict.WITHIN, Verdict.DIVERGED)
    assert found["good"].ratio == pytest.approx(0.5)
