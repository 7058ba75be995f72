"""Which of several libraries stands apart from the others on the same case.

A verdict compares ours with one reference at a time; where three or more libraries ran a case, it can also be said
whose outputs are farther from all others than those are from one another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from parity.verdict.compare import rms
from samblocks.numerics.verdict import all_finite

_FARTHER = 10.0
# Distances below so many ulps of the output's size are rounding, whatever their proportion.
_ULPS = 1000.0


@dataclass(frozen=True)
class Outlier:
    """One library that stands apart.

    Attributes:
        id: the case.
        library: whose outputs are far from all others.
        output: where it is farthest.
        distance: to the nearest of the others, as a share of their size; infinite where the shape differs.
        spread: the largest distance among the others, likewise.
        others: those that agree.
    """

    id: str
    library: str
    output: str
    distance: float
    spread: float
    others: tuple[str, ...]

    def __str__(self) -> str:
        how = (
            "in shape"
            if self.distance == float("inf")
            else f"{self.distance:.1e} off, they {self.spread:.1e}"
        )
        return (
            f"{self.id}: {self.library} stands apart from {', '.join(self.others)} at {self.output!r} ({how})"
        )


def find(case_id: str, outputs: Mapping[str, Mapping[str, Tensor]]) -> Outlier | None:
    """The library that stands apart, or None where nobody does or fewer than three ran.

    Args:
        case_id: the case.
        outputs: for each library, its outputs by path, all in one precision.
    """
    found: list[Outlier] = []
    for path in dict.fromkeys(path for library in outputs.values() for path in library):
        having = {library: own[path] for library, own in outputs.items() if path in own}
        if len(having) >= 3:
            found += _on_one_output(case_id, path, having)
    return max(found, key=lambda outlier: outlier.distance, default=None)


def _on_one_output(case_id: str, path: str, values: Mapping[str, Tensor]) -> list[Outlier]:
    distances = {
        frozenset(pair): _distance(*(values[name] for name in pair)) for pair in combinations(values, 2)
    }
    least = _ULPS * max(torch.finfo(v.dtype).eps if v.is_floating_point() else 0.0 for v in values.values())
    found = []
    for library in values:
        others = [name for name in values if name != library]
        nearest = min(distances[frozenset((library, other))] for other in others)
        spread = max(distances[frozenset(pair)] for pair in combinations(others, 2))
        if nearest > max(_FARTHER * spread, least):
            found.append(Outlier(case_id, library, path, nearest, spread, tuple(others)))
    return found


def _distance(a: Tensor, b: Tensor) -> float:
    """Root mean square of the difference, as a share of the larger of the two; infinite for other shapes."""
    if a.shape != b.shape:
        return float("inf")
    if not (all_finite(a) and all_finite(b)):
        finite = torch.isfinite(a) & torch.isfinite(b)
        if not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
            return float("inf")
        a, b = a[finite], b[finite]
    size = max(rms(a), rms(b))
    return rms(a.double() - b.double()) / size if size > 0 else 0.0


def lines(outliers: Sequence[Outlier]) -> list[str]:
    """What a report says of them: who stands apart how often, then each case."""
    if not outliers:
        return []
    counts: dict[str, int] = {}
    for outlier in outliers:
        counts[outlier.library] = counts.get(outlier.library, 0) + 1
    totals = ", ".join(f"{library} in {count}" for library, count in sorted(counts.items()))
    return [f"stand apart where three or more libraries ran a case: {totals}", *(f"  {o}" for o in outliers)]
