"""The verdict of a check: one finding for each output, by the two questions of `samblocks.numerics.verdict`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from parity.verdict.compare import Comparison, Verdict, compare, compare_double
from parity.verdict.error_map import grid
from samblocks.numerics import draws
from samblocks.numerics.verdict import ANOTHER_FUNCTION, BOUND, LESS_PRECISE, UNDECIDED, error

BOUND64 = 1e-12
"""Relative difference in float64 up to which two callables are the same function."""

_AMPLIFIED = 1e3
"""How much more of the reference's own rounding may show in float64, where that is more than `BOUND64`."""


@dataclass(frozen=True)
class Finding:
    """The comparison of one output.

    Attributes:
        output: its path.
        comparison: verdict and figures in the working precision.
        ours: the candidate's value where the difference is largest.
        theirs: the reference's there.
        double: the comparison in float64; None where the candidate was not compared in it.
    """

    output: str
    comparison: Comparison
    ours: complex | None = None
    theirs: complex | None = None
    double: Comparison | None = None

    @property
    def relative(self) -> float | None:
        """The relative difference in float64; None where the candidate was not compared in it."""
        return None if self.double is None else self.double.ratio

    def __str__(self) -> str:
        found = self.comparison
        figures = [self.figure] if self.figure else []
        if found.max_abs and found.ratio is not None:
            figures.append(f"max |Δ| {found.max_abs:.3g} at {list(found.index or ())}{self._values}")
        if self.relative is not None:
            figures.append(f"{self.relative:.1e} in float64")
        return ", ".join([f"{found.verdict} {self.output}", *figures]) + (
            f": {found.cause}" if found.cause else ""
        )

    @property
    def figure(self) -> str:
        """The one figure that says it: R with its draws, else the largest difference."""
        found = self.comparison
        if found.ratio is not None:
            return f"R {found.ratio:.3g}" + (f" ({found.draws} draws)" if found.draws > 1 else "")
        if found.max_abs:
            return f"max |Δ| {found.max_abs:.3g} at {list(found.index or ())}{self._values}"
        return ""

    @property
    def _values(self) -> str:
        return "" if self.ours is None else f" ({_short(self.ours)}, not {_short(self.theirs)})"


@dataclass(frozen=True)
class Result:
    """What a check found; true if everything held, and its text says what did not.

    Attributes:
        findings: one for each output, worst first.
        unseen: sentences on what could not be seen.
        notes: sentences on how it was judged.
        strict: whether what could not be seen is a failure.
    """

    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    strict: bool = False

    def __bool__(self) -> bool:
        held = bool(self.findings) and not any(f.comparison.verdict.failed for f in self.findings)
        return held and not (self.strict and self.unseen)

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings] or ["nothing was compared"]
        lines += [f"not seen: {sentence}" for sentence in self.unseen]
        if self.strict and self.unseen:
            lines.append("strict_sight: what was not seen is not held to be equal")
        return "\n".join([*lines, *(f"note: {sentence}" for sentence in self.notes)])

    @property
    def worst(self) -> Finding:
        """The finding to look at first."""
        return self.findings[0]


def result(findings: list[Finding], **more: tuple[str, ...] | bool) -> Result:
    """Findings as a result, worst first."""
    return Result(tuple(sorted(findings, key=_badness)), **more)  # type: ignore[arg-type]


def judge(
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    truth: Mapping[str, Tensor],
    *,
    double: Mapping[str, Tensor] | None = None,
    bound: float = BOUND,
    bound64: float = BOUND64,
    exact: bool = False,
    changed: bool = False,
    error_map: bool = False,
    rounding: Mapping[str, float] = MappingProxyType({}),
    matmul: float = 1.0,
) -> Result:
    """The result for outputs that are there already, by one draw.

    Args:
        ours: the candidate's outputs by path.
        theirs: the reference's.
        truth: the reference's in float64.
        double: the candidate's in float64; None where there are none.
        bound: largest R that holds.
        bound64: largest relative difference in float64 that holds.
        exact: demand equal bits.
        changed: whether the candidate changed its input.
        error_map: keep where differences sit.
        rounding: by output, the largest difference in float64 that the rounding of the sides' own tensors explains.
        matmul: how many times less exact matrix products are here than where the reference ran.
    """
    findings = []
    for name in dict.fromkeys([*theirs, *ours]):
        mine, other = ours.get(name), theirs.get(name)
        if mine is None or other is None:
            whose = "the candidate" if mine is None else "the reference"
            cause = f"{whose} has no such output"
            findings.append(Finding(name, Comparison(Verdict.INCOMPARABLE, cause=cause)))
            continue
        wide = None if double is None else double.get(name)
        one = _one(
            name, mine, other, truth.get(name), wide, bound, bound64, exact, rounding.get(name, 0.0), matmul
        )
        if error_map and not mine.is_complex():
            one = replace(one, comparison=replace(one.comparison, error_map=grid(mine, other)))
        findings.append(one)
    if changed:
        cause = "the candidate changed its input"
        findings.append(Finding("inputs", Comparison(Verdict.DIVERGED, cause=cause)))
    return result(findings)


def is_another(finding: Finding) -> bool:
    """Whether float64 says that it is another function."""
    return finding.comparison.cause.startswith(ANOTHER_FUNCTION)


def first_alarms(found: Result, bound: float = BOUND, *, need_double: bool = False) -> dict[str, Comparison]:
    """By output, the comparisons that further draws decide: float64 has not decided them.

    Args:
        found: the result by the first draw.
        bound: largest R that holds.
        need_double: whether further draws mean something only where float64 has shown the same function.
    """
    first = {finding.output: finding.comparison for finding in found.findings}
    double = {finding.output: finding.double for finding in found.findings if finding.double is not None}
    return draws.first_alarms(first, double, dict.fromkeys(first, bound), first if need_double else ())


def _one(
    name: str,
    ours: Tensor,
    theirs: Tensor,
    truth: Tensor | None,
    double: Tensor | None,
    bound: float,
    bound64: float,
    exact: bool,
    rounding: float,
    matmul: float,
) -> Finding:
    found = compare(ours, theirs, truth, bound=bound, exact=exact, matmul=matmul)
    at = found.index if found.max_abs else None
    finding = Finding(
        name, found, None if at is None else _value(ours, at), None if at is None else _value(theirs, at)
    )
    if exact or truth is None or found.verdict is Verdict.INCOMPARABLE or truth.shape != ours.shape:
        return finding
    if double is None:
        return replace(finding, comparison=_with_question(found, UNDECIDED))
    # What both sides decide alike in the working precision may be a tie that float64 breaks.
    if not (truth.is_floating_point() or truth.is_complex()):
        found = _with_question(found, ANOTHER_FUNCTION)
        return replace(finding, comparison=found, double=found if found.verdict.failed else None)
    allowed = _allowed(theirs, truth, bound64, rounding)
    wide = compare_double(double, truth, bound=allowed)
    if wide.verdict is Verdict.INCOMPARABLE:
        return replace(finding, comparison=_with_question(found, UNDECIDED))
    if not wide.verdict.failed:
        return replace(finding, comparison=_with_question(found, LESS_PRECISE), double=wide)
    cause = wide.cause
    if wide.ratio is not None:
        cause = (
            f"{ANOTHER_FUNCTION}: the relative difference in float64 is {wide.ratio:.2g}, above {allowed:.1g}"
        )
    failed = replace(found, verdict=Verdict.DIVERGED, cause=cause)
    return replace(finding, comparison=failed, double=replace(wide, cause=cause))


def _with_question(found: Comparison, question: str) -> Comparison:
    """A failure with the question that it answers."""
    if found.verdict is not Verdict.DIVERGED:
        return found
    return replace(found, cause=f"{question}: {found.cause}")


def _allowed(theirs: Tensor, truth: Tensor, bound64: float, rounding: float) -> float:
    """The relative difference in float64 that rounding explains.

    Where terms cancel, or many layers amplify, float64 rounds by as much more as the working precision does: the
    reference's own error tells by how much.
    """
    finite = truth[truth.isfinite()].abs()
    size = float(finite.max()) if finite.numel() else 0.0
    if size == 0.0:
        return bound64
    narrower = torch.finfo(torch.float64).eps / torch.finfo(theirs.dtype).eps
    amplified = _AMPLIFIED * narrower * error(theirs, truth).worst if narrower < 1 else 0.0
    return max(bound64, amplified / size, rounding / size)


def _value(x: Tensor, index: tuple[int, ...]) -> complex:
    return complex(x[index]) if x.is_complex() else float(x[index])


def _short(value: complex | None) -> str:
    return f"{value:.7g}" if value is not None else ""


def _badness(finding: Finding) -> tuple[bool, float]:
    return not finding.comparison.verdict.failed, -(finding.comparison.ratio or 0.0)
