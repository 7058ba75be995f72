"""The verdict on one output, with what a report shows beside it: other measures, and where the difference sits."""

from dataclasses import dataclass, field

from torch import Tensor

from parity.verdict.error_map import ErrorMap
from parity.verdict.metrics import Metrics, measure
from samblocks.numerics import verdict
from samblocks.numerics.verdict import BOUND, Verdict, greatest_difference, rms

__all__ = ["Comparison", "Verdict", "compare", "compare_double", "greatest_difference", "rms"]


@dataclass(frozen=True)
class Comparison(verdict.Comparison):
    """Verdict and figures for one output tensor; see `samblocks.numerics.verdict`.

    Attributes:
        error_map: where the difference sits, if that was asked for.
        metrics: how far ours is from upstream's in other measures; None where bits are equal or nothing compares.
    """

    error_map: ErrorMap | None = field(default=None, repr=False, compare=False)
    metrics: Metrics | None = field(default=None, repr=False, compare=False)


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
    """Judge our output in a working precision by one draw; see `samblocks.numerics.verdict.compare`."""
    found = verdict.compare(ours, upstream, truth, bound=bound, exact=exact, honest=honest, matmul=matmul)
    return Comparison(**vars(found), metrics=None if found.ratio is None else measure(ours, upstream))


def compare_double(ours: Tensor, truth: Tensor, *, bound: float) -> Comparison:
    """Judge our float64 output against the truth; see `samblocks.numerics.verdict.compare_double`."""
    return Comparison(**vars(verdict.compare_double(ours, truth, bound=bound)))
