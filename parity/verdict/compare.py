"""The verdict on one output: our error against upstream's own error, both against the float64 truth.

R = rms(ours − truth) / max(rms(upstream − truth), floor), floor = max(ε/2, envelope) · rms(truth).

A fixed tolerance passes a LayerNorm epsilon ten times too large; R does not (it is near 30 there), and it stays
near 1 for honest variations of the same arithmetic. The floor keeps 0/0 out where upstream happens to be exact:
ε/2 is half a unit in the last place, the envelope how far upstream's own results move when upstream is varied
honestly, measured where that matters (`parity.verdict.envelopes`).
"""

from dataclasses import dataclass, field
from enum import StrEnum

import torch
from torch import Tensor

from parity.verdict.error_map import Heat
from parity.verdict.metrics import Metrics, measure


class Verdict(StrEnum):
    """The words of a report, from best to worst within what was compared."""

    EXACT = "EXACT"
    WITHIN = "WITHIN"
    NOISE = "NOISE"
    KNOWN = "KNOWN"
    NO_COUNTERPART = "NO COUNTERPART"
    NOT_RUN = "NOT RUN"
    INCOMPARABLE = "INCOMPARABLE"
    DIVERGED = "DIVERGED"

    @property
    def failed(self) -> bool:
        """Whether this verdict means that the comparison did not hold."""
        return self in (Verdict.DIVERGED, Verdict.INCOMPARABLE)


@dataclass(frozen=True)
class Comparison:
    """Verdict and figures for one output tensor.

    Attributes:
        verdict: the word.
        ratio: R in the precision compared; in float64 the relative difference; None where neither applies.
        max_abs: largest absolute difference between ours and upstream's.
        index: where that difference is.
        cause: what is wrong, or why a difference is accepted.
        heat: where the difference sits, if that was asked for.
        metrics: how far ours is from upstream's in other measures; None where bits are equal or nothing compares.
    """

    verdict: Verdict
    ratio: float | None = None
    max_abs: float | None = None
    index: tuple[int, ...] | None = None
    cause: str = ""
    heat: Heat | None = field(default=None, repr=False, compare=False)
    metrics: Metrics | None = field(default=None, repr=False, compare=False)


def compare(
    ours: Tensor,
    upstream: Tensor,
    truth: Tensor | None,
    *,
    bound: float = 2.0,
    exact: bool = False,
    envelope: float = 0.0,
) -> Comparison:
    """Judge our output in a working precision.

    Args:
        ours: our output.
        upstream: upstream's output in the same precision.
        truth: upstream's output in float64, lifted; needed for floating-point outputs that are not `exact`.
        bound: largest R that holds.
        exact: demand equal bits.
        envelope: upstream's rms error over the rms of the truth, varied honestly, where it was measured.
    """
    unlike = _unlike(ours, upstream)
    if unlike:
        return Comparison(Verdict.INCOMPARABLE, cause=unlike)
    if torch.equal(ours, upstream) or _equal_with_nan(ours, upstream):
        return Comparison(Verdict.EXACT, ratio=None, max_abs=0.0)
    max_abs, index = greatest_difference(ours, upstream)
    if not bool(torch.isfinite(ours).all()) and bool(torch.isfinite(upstream).all()):
        return Comparison(Verdict.DIVERGED, None, max_abs, index, "ours has values that are not finite")
    if exact or not ours.is_floating_point():
        cause = "must be bit-equal: it only moves data" if exact else f"{ours.dtype} values differ"
        return Comparison(Verdict.DIVERGED, None, max_abs, index, cause)
    if truth is None:
        return Comparison(Verdict.INCOMPARABLE, None, max_abs, index, "no float64 truth to judge by")
    if truth.shape != ours.shape:
        return Comparison(
            Verdict.INCOMPARABLE,
            None,
            max_abs,
            index,
            f"truth has shape {tuple(truth.shape)}, ours {tuple(ours.shape)}",
        )
    wide = truth.double()
    ours_error, upstream_error = rms(ours.double() - wide), rms(upstream.double() - wide)
    floor = max(torch.finfo(ours.dtype).eps / 2, envelope) * rms(wide)
    scale = max(upstream_error, floor)
    ratio = ours_error / scale if scale > 0 else (0.0 if ours_error == 0 else float("inf"))
    metrics = measure(ours, upstream)
    if not ratio <= bound:
        cause = f"R is above {bound:g}"
        return Comparison(Verdict.DIVERGED, ratio, max_abs, index, cause, metrics=metrics)
    verdict = Verdict.NOISE if upstream_error < floor else Verdict.WITHIN
    return Comparison(verdict, ratio, max_abs, index, metrics=metrics)


def compare_double(ours: Tensor, truth: Tensor, *, bound: float) -> Comparison:
    """Judge our float64 output against the truth by the relative difference max|a − b| / max|truth|."""
    unlike = _unlike(ours, truth)
    if unlike:
        return Comparison(Verdict.INCOMPARABLE, cause=unlike)
    if torch.equal(ours, truth) or _equal_with_nan(ours, truth):
        return Comparison(Verdict.EXACT, ratio=0.0, max_abs=0.0)
    max_abs, index = greatest_difference(ours, truth)
    if not ours.is_floating_point():
        return Comparison(Verdict.DIVERGED, None, max_abs, index, f"{ours.dtype} values differ")
    size = float(truth.abs().max())
    relative = max_abs / size if size > 0 else float("inf")
    if not relative <= bound:
        return Comparison(
            Verdict.DIVERGED, relative, max_abs, index, f"relative difference is above {bound:g}"
        )
    return Comparison(Verdict.WITHIN, relative, max_abs, index)


def greatest_difference(a: Tensor, b: Tensor) -> tuple[float, tuple[int, ...]]:
    """Largest absolute difference and its index; a difference that is not a number counts as the largest."""
    difference = (a.double() - b.double()).abs()
    difference = torch.where(difference.isnan(), torch.inf, difference)
    flat = int(difference.argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), a.shape)) if a.ndim else ()
    return float(difference.flatten()[flat]), index


def rms(x: Tensor) -> float:
    """Root mean square, in float64."""
    return float(x.double().square().mean().sqrt()) if x.numel() else 0.0


def _unlike(ours: Tensor, other: Tensor) -> str:
    if ours.shape != other.shape:
        return f"shape {tuple(ours.shape)}, upstream has {tuple(other.shape)}"
    if ours.dtype != other.dtype:
        return f"dtype {ours.dtype}, upstream has {other.dtype}"
    return ""


def _equal_with_nan(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return False
    return bool(torch.equal(a.isnan(), b.isnan())) and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
