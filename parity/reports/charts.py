"""Figures of the HTML page as numbers: what the template draws."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from parity.reports.line import ratio as shown
from parity.reports.summary import badness
from parity.run.judging import Row
from parity.verdict.compare import Verdict

_STEP = 0.1
_LAST = 2.0
_MANY = 24
_OF_A_BLOCK = 2


@dataclass(frozen=True)
class Bin:
    """One bar of a histogram.

    Attributes:
        label: the range that it counts.
        count: how many.
        tick: text under its left edge, or nothing.
        bad: beyond what holds.
        x: left edge, in the chart's units.
        height: of 100.
    """

    label: str
    count: int
    tick: str
    bad: bool
    x: int
    height: float


@dataclass(frozen=True)
class Histogram:
    """How the figures of one precision are distributed."""

    dtype: str
    title: str
    note: str
    equal: int
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Stage:
    """One output of a case: R as a bar."""

    output: str
    text: str
    width: float
    verdict: str
    slug: str


@dataclass(frozen=True)
class Panel:
    """The outputs of one case in the order in which they are computed.

    Attributes:
        case: id of the case.
        reference: against whom.
        dtype: in which precision.
        stages: one for each output.
        folded: whether a stage stands for a group of outputs, with the largest R of them.
        one: where R = 1 is, in percent of the width.
        bound: where R = 2 is.
    """

    case: str
    reference: str
    dtype: str
    stages: tuple[Stage, ...]
    folded: bool
    one: float
    bound: float


def slug(verdict: str) -> str:
    """A verdict's word as a CSS class."""
    return verdict.lower().replace(" ", "-")


def histograms(rows: Sequence[Row]) -> list[Histogram]:
    """One for each precision that has figures or bit-equal outputs."""
    charts = []
    for dtype in sorted({row.dtype for row in rows if row.dtype != "-"}):
        chosen = [row for row in rows if row.dtype == dtype and row.comparison.verdict is not Verdict.KNOWN]
        equal = sum(row.comparison.verdict is Verdict.EXACT for row in chosen)
        figures = [
            (row.comparison.ratio, row.comparison.verdict.failed)
            for row in chosen
            if row.comparison.ratio is not None and row.comparison.verdict is not Verdict.EXACT
        ]
        if not figures and not equal:
            continue
        if dtype == "float64":
            charts.append(
                Histogram(
                    dtype,
                    "Relative difference in float64",
                    "max |ours − truth| / max |truth|, by powers of ten",
                    equal,
                    _decades(figures),
                )
            )
        else:
            title = f"R in {dtype}" if dtype else "R"
            note = "our error / the reference's own error; 1 is as good as the reference"
            charts.append(Histogram(dtype, title, note, equal, _tenths(figures)))
    return charts


def _tenths(figures: Sequence[tuple[float, bool]]) -> tuple[Bin, ...]:
    """Bars of width 0.1 up to 2, and one for all that is beyond."""
    count = round(_LAST / _STEP)
    tally = [0] * (count + 1)
    for ratio, _ in figures:
        tally[
            min(count, math.ceil(ratio / _STEP - 1e-9) - 1) if 0 < ratio < math.inf else count * (ratio != 0)
        ] += 1
    most = max(tally, default=0) or 1
    failed = any(bad and not ratio <= _LAST for ratio, bad in figures)
    bins = []
    for place, number in enumerate(tally):
        beyond = place == count
        label = "above 2" if beyond else f"{place * _STEP:.1f} to {(place + 1) * _STEP:.1f}"
        tick = "> 2" if beyond else (f"{place * _STEP:g}" if place % 5 == 0 else "")
        bins.append(Bin(label, number, tick, beyond and failed, place, 100 * number / most))
    return tuple(bins)


def _decades(figures: Sequence[tuple[float, bool]]) -> tuple[Bin, ...]:
    """Bars of one power of ten each."""
    finite = [(value, failed) for value, failed in figures if 0 < value < math.inf]
    if not finite:
        return ()
    powers = [math.floor(math.log10(value)) for value, _ in finite]
    low, high = min(powers), max(*powers, min(powers) + 7)
    bins = []
    counts = [powers.count(power) for power in range(low, high + 1)]
    every = 2 + len(counts) // 16
    for place, number in enumerate(counts):
        power = low + place
        bad = any(failed for at, (_, failed) in zip(powers, finite, strict=True) if at == power)
        label = f"1e{power} to 1e{power + 1}"
        bins.append(
            Bin(label, number, "" if place % every else f"1e{power}", bad, place, 100 * number / max(counts))
        )
    return tuple(bins)


def panels(rows: Sequence[Row], most: int = 8) -> list[Panel]:
    """R of each output of the cases that have several: whole models, stages, tracked frames.

    Args:
        rows: what the run yielded, each case's in the order of its outputs.
        most: how many cases; those that fail come first, then those with most outputs.
    """
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.dtype not in ("-", "float64") and row.output not in ("-", "state_dict"):
            groups.setdefault((row.id, row.reference, row.dtype), []).append(row)
    several = {
        key: group
        for key, group in groups.items()
        if len(group) >= 3 and any(row.comparison.ratio is not None for row in group)
    }

    def rank(key: tuple[str, str, str]) -> tuple[bool, int, float, tuple[str, str, str]]:
        group = several[key]
        largest = max(row.comparison.ratio or 0.0 for row in group)
        return not any(row.comparison.verdict.failed for row in group), -len(group), -largest, key

    chosen: list[tuple[str, str, str]] = []
    for key in sorted(several, key=rank):
        # One reference for each case and few cases for each block: the page shows different things.
        block = key[0].partition("/")[0]
        if key[0] not in {case for case, *_ in chosen} and (
            sum(case.partition("/")[0] == block for case, *_ in chosen) < _OF_A_BLOCK
        ):
            chosen.append(key)
    return [_panel(*key, several[key]) for key in chosen[:most]]


def _panel(case: str, reference: str, dtype: str, whole: Sequence[Row]) -> Panel:
    group = whole if len(whole) <= _MANY else _folded(whole)
    finite = [row.comparison.ratio or 0.0 for row in group if (row.comparison.ratio or 0.0) < math.inf]
    top = max(2.5, *finite)
    logarithmic = top > 10

    def place(ratio: float) -> float:
        if ratio >= math.inf:
            return 100.0
        if logarithmic:
            # From 0.1, where nothing is seen, to the largest.
            return 100 * max(0.0, math.log10(max(ratio, 0.1)) + 1) / (math.log10(top) + 1)
        return 100 * ratio / top

    stages = []
    for row in group:
        ratio, verdict = row.comparison.ratio, str(row.comparison.verdict)
        text = "bit-equal" if ratio is None and verdict == Verdict.EXACT else shown(ratio) or verdict.lower()
        name = f"output {row.output}" if row.output.isdigit() else row.output
        stages.append(Stage(name, text, place(ratio or 0.0) if ratio else 0.0, verdict, slug(verdict)))
    return Panel(case, reference, dtype, tuple(stages), group is not whole, place(1.0), place(2.0))


def _folded(rows: Sequence[Row]) -> list[Row]:
    """The worst row of each group of outputs, named by the first part of their paths: one for each frame."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.output.partition("/")[0], []).append(row)
    return [replace(min(group, key=badness), output=name) for name, group in groups.items()][:_MANY]
