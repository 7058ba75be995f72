"""The verdict on one output, which answers two questions.

*Is it the same function?* In float64, ours against the truth (the reference in float64): the relative difference
max|a − b| / max|truth| is at most 1e-12 for a block. There is no luck in it, and it is the same on every machine.

*Is it as precise?* In the working precision, our error against the reference's own, both against the truth:

    R = rms(ours − truth) / max(m · rms(reference − truth), floor · rms(truth)),   floor = max(ε / 2, m · honest)

A fixed tolerance passes a LayerNorm epsilon ten times too large; R does not (it is near 30 there), and it stays near 1
for honest variations of the same arithmetic. The floor keeps 0/0 out where the reference happens to be exact: ε/2 is
half a unit in the last place, `honest` the error of another implementation of the same function. m is 1 where both
sides ran on the same kernels; else how many times less exact matrix products are on ours (`samblocks.numerics.matmul`).
Where few numbers decide, one R is luck: `samblocks.numerics.draws` judges by several.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

BOUND = 2.0
"""The largest R of one draw that holds."""

ANOTHER_FUNCTION = "another function"
LESS_PRECISE = "the same function, less precise"
UNDECIDED = "less precise, or another function (not compared in float64)"

_WORST = 4.0
"""In a low precision the error of the worst element may be so many times the reference's: half of it counts as R."""


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


SEVERITY = (Verdict.EXACT, Verdict.NOISE, Verdict.WITHIN, Verdict.INCOMPARABLE, Verdict.DIVERGED)
"""The words for an output that was compared, from best to worst."""


@dataclass(frozen=True)
class Comparison:
    """Verdict and figures for one output tensor.

    Attributes:
        verdict: the word.
        ratio: R in the precision compared, the geometric mean where there were several draws; in float64 the
            relative difference; None where neither applies.
        max_abs: largest absolute difference between ours and the reference's, in the first draw.
        index: where that difference is.
        cause: what is wrong, or why a difference is accepted.
        draws: how many draws of weights and inputs decided.
        worst: in a low precision, the error of our worst element over that of the reference's.
    """

    verdict: Verdict
    ratio: float | None = None
    max_abs: float | None = None
    index: tuple[int, ...] | None = None
    cause: str = ""
    draws: int = 1
    worst: float | None = None

    @property
    def excess(self) -> float | None:
        """What is held against the bound: R, or in a low precision half of `worst`, if that is more."""
        return (
            self.ratio
            if self.worst is None or self.ratio is None
            else max(self.ratio, 2 / _WORST * self.worst)
        )


@dataclass(frozen=True)
class Error:
    """How far an output is from the truth.

    Attributes:
        rms: root mean square of the difference.
        worst: the largest difference.
    """

    rms: float
    worst: float


def compare(
    ours: Tensor,
    upstream: Tensor,
    truth: Tensor | None,
    *,
    bound: float = BOUND,
    exact: bool = False,
    honest: float = 0.0,
    matmul: float = 1.0,
) -> Comparison:
    """Judge our output in a working precision, by one draw.

    Args:
        ours: our output, of any shape and dtype.
        upstream: the reference's output in the same precision.
        truth: the reference's output in float64; needed for floating-point and complex outputs that are not `exact`.
        bound: largest R that holds.
        exact: demand equal bits.
        honest: relative rms error of another implementation of the same function.
        matmul: how many times less exact float32 matrix products are here than where the reference ran.

    Returns:
        The comparison. Values that are not finite must be the same in the same places, and are then left out.
    """
    unlike = _unlike(ours, upstream)
    if unlike:
        return Comparison(Verdict.INCOMPARABLE, cause=unlike)
    if equal(ours, upstream):
        return _exact(ours)
    max_abs, index = greatest_difference(ours, upstream)
    if exact or not is_inexact(ours):
        cause = "must be bit-equal: it only moves data" if exact else f"{ours.dtype} values differ"
        return Comparison(Verdict.DIVERGED, None, max_abs, index, cause)
    strange = _not_finite(ours, upstream)
    if strange:
        return Comparison(Verdict.DIVERGED, None, max_abs, index, strange)
    if truth is None:
        return Comparison(Verdict.INCOMPARABLE, None, max_abs, index, "no float64 truth to judge by")
    if truth.shape != ours.shape:
        cause = f"truth has shape {tuple(truth.shape)}, ours {tuple(ours.shape)}"
        return Comparison(Verdict.INCOMPARABLE, None, max_abs, index, cause)
    upstream_error = error(upstream, truth)
    ratio, worst, floored = ratio_of(ours, truth, upstream_error, honest=honest, matmul=matmul)
    found = Comparison(Verdict.NOISE if floored else Verdict.WITHIN, ratio, max_abs, index, worst=worst)
    if found.excess is not None and found.excess <= bound:
        return found
    return Comparison(Verdict.DIVERGED, ratio, max_abs, index, above(found, bound), worst=worst)


def above(found: Comparison, bound: float) -> str:
    """The sentence on an R, or a worst element, that is above its bound."""
    if found.worst is None or found.ratio is None or found.ratio >= (found.excess or 0.0):
        return f"R is above {bound:g}"
    return f"the error of its worst element is {found.worst:.3g} times the reference's, above {_WORST / 2 * bound:g}"


def compare_double(ours: Tensor, truth: Tensor, *, bound: float) -> Comparison:
    """Judge our float64 output against the truth by the relative difference max|a − b| / max|truth|."""
    unlike = _unlike(ours, truth)
    if unlike:
        return Comparison(Verdict.INCOMPARABLE, cause=unlike)
    if equal(ours, truth):
        return _exact(ours, ratio=0.0)
    max_abs, index = greatest_difference(ours, truth)
    if not is_inexact(ours):
        return Comparison(
            Verdict.DIVERGED, None, max_abs, index, f"{ANOTHER_FUNCTION}: {ours.dtype} values differ"
        )
    strange = _not_finite(ours, truth)
    if strange:
        return Comparison(Verdict.DIVERGED, None, max_abs, index, f"{ANOTHER_FUNCTION}: {strange}")
    size = largest(truth)
    relative = max_abs / size if size > 0 else float("inf")
    if not relative <= bound:
        cause = f"{ANOTHER_FUNCTION}: the relative difference in float64 is above {bound:g}"
        return Comparison(Verdict.DIVERGED, relative, max_abs, index, cause)
    return Comparison(Verdict.WITHIN, relative, max_abs, index)


def error(output: Tensor, truth: Tensor) -> Error:
    """How far an output is from the truth, where both are finite."""
    difference = _finite(_wide(output) - _wide(truth))
    return Error(rms(difference), _greatest(difference))


def ratio_of(
    ours: Tensor, truth: Tensor, upstream: Error, *, honest: float = 0.0, matmul: float = 1.0
) -> tuple[float, float | None, bool]:
    """R of one draw; in a low precision also the ratio of the worst elements; and whether the floor decided."""
    own = error(ours, truth)
    epsilon = torch.finfo(ours.dtype).eps
    matmul = matmul if ours.dtype in (torch.float32, torch.complex64) else 1.0
    size = rms(_finite(_wide(truth)))
    floor = max(epsilon / 2, matmul * honest) * size
    ratio = _over(own.rms, max(matmul * upstream.rms, floor))
    worst = None
    if torch.finfo(ours.dtype).bits < 32:
        worst = _over(own.worst, max(upstream.worst, epsilon * largest(truth)))
    return ratio, worst, matmul * upstream.rms < floor


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one shape and dtype have the same values, NaN being equal to NaN."""
    if torch.equal(a, b):
        return True
    if not is_inexact(a) or all_finite(a):
        return False
    one, other = _real(a), _real(b)
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def greatest_difference(a: Tensor, b: Tensor) -> tuple[float, tuple[int, ...]]:
    """Largest absolute difference and its index.

    Infinities of one sign, and NaN in both, do not differ; otherwise a difference that is no number is the largest.
    """
    difference = (_wide(a) - _wide(b)).abs()
    if not all_finite(difference):
        difference = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, difference)
        difference = torch.where(difference.isnan(), torch.inf, difference)
    flat = int(difference.argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), a.shape)) if a.ndim else ()
    return float(difference.flatten()[flat]), index


def rms(x: Tensor) -> float:
    """Root mean square, in float64."""
    return float(torch.linalg.vector_norm(_wide(x))) / x.numel() ** 0.5 if x.numel() else 0.0


def _exact(ours: Tensor, ratio: float | None = None) -> Comparison:
    if ours.numel() and is_inexact(ours) and bool(ours.isnan().all()):
        return Comparison(Verdict.INCOMPARABLE, cause="both sides are NaN throughout: nothing was compared")
    return Comparison(Verdict.EXACT, ratio=ratio, max_abs=0.0)


def _not_finite(ours: Tensor, other: Tensor) -> str:
    """What is wrong with values that are not finite; empty where both sides have the same in the same places."""
    if all_finite(ours) and all_finite(other):
        return ""
    mine, theirs = _real(ours), _real(other)
    alike = (mine == theirs) | (mine.isnan() & theirs.isnan()) | (mine.isfinite() & theirs.isfinite())
    if bool(alike.all()):
        return ""
    if bool(theirs.isfinite().all()):
        return "ours has values that are not finite"
    flat = int((~alike).flatten().nonzero()[0])
    return f"not finite in other places or ways: ours {float(mine.flatten()[flat])}, {float(theirs.flatten()[flat])}"


def _unlike(ours: Tensor, other: Tensor) -> str:
    if ours.shape != other.shape:
        return f"shape {tuple(ours.shape)}, the reference has {tuple(other.shape)}"
    if ours.dtype != other.dtype:
        return f"dtype {ours.dtype}, the reference has {other.dtype}"
    return ""


def is_inexact(x: Tensor) -> bool:
    """Whether a tensor holds floating-point or complex numbers."""
    return x.is_floating_point() or x.is_complex()


def _real(x: Tensor) -> Tensor:
    """A complex tensor as pairs of real numbers [..., 2]; others as they are."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.complex128) if x.is_complex() else x.double()


def all_finite(x: Tensor) -> bool:
    """Whether all values are finite: their sum, one pass over memory, says so unless it overflows."""
    return not is_inexact(x) or bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())


def _finite(x: Tensor) -> Tensor:
    return x if all_finite(x) else x[torch.isfinite(x)]  # choosing is slow, and rarely needed


def largest(x: Tensor) -> float:
    """The largest absolute value that is finite, 0 where there is none."""
    return _greatest(_finite(_wide(x)))


def _greatest(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x, torch.inf)) if x.numel() else 0.0


def _over(own: float, scale: float) -> float:
    if scale > 0:
        return own / scale
    return 0.0 if own == 0 else float("inf")
