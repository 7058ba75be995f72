"""What a comparison found: the page for people, and the plain data for machines."""

import re
from collections.abc import Iterator
from typing import Any

from parity.diverge.locate import Culprit, Report, Tap

SCHEMA = 1


def lines(report: Report, *, everything: bool = False) -> Iterator[str]:
    """The report in plain text, the culprits first.

    Args:
        report: what was found.
        everything: also each module that holds, and each difference without effect.
    """
    yield from verdict(report)
    yield ""
    yield f"{'introduced':>10} {'in all':>10}  point"
    born = {culprit.tap.index for culprit in report.culprits}
    for tap in report.taps:
        if everything or tap.failed or tap.point:
            yield _row(tap, report.bound, tap.index in born)
    yield ""
    yield _count(report)
    for tap in report.taps:
        if not tap.failed and tap.introduced.cause:
            yield f"{tap.name}: {tap.introduced.cause}"
    if report.note:
        yield f"no float64 run of the whole, so no figures 'in all': {report.note}"
    yield from _lists(report, everything)


def summary(report: Report) -> str:
    """A report in which no module introduces an error, in one line."""
    return f"{next(verdict(report))}; {_count(report)}"


def _count(report: Report) -> str:
    ratios = [t.introduced.ratio for t in report.taps if not t.failed and t.introduced.ratio is not None]
    held = sum(not tap.failed for tap in report.taps)
    largest = f", R at most {max(ratios):.2f}" if ratios else ", all bit-equal"
    return f"{len(report.taps)} calls replayed on upstream's input, {held} hold{largest}"


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "culprits": [
            {
                **_tap_json(culprit.tap),
                "step": culprit.step,
                "settings": list(culprit.settings),
                "tensors": list(culprit.tensors),
            }
            for culprit in report.culprits
        ],
        "calls": [_tap_json(tap) for tap in report.taps],
        "skipped": dict(report.skipped),
        "only_ours": list(report.only_ours),
        "only_upstream": list(report.only_theirs),
        "settings": {name: list(found) for name, found in report.settings.items()},
        "tensors": list(report.tensors),
        "bound": report.bound,
        "note": report.note,
    }


def grouped(culprits: tuple[Culprit, ...]) -> list[list[Culprit]]:
    """Culprits that differ in numbers of their names alone, such as one mistake in every block, go together."""
    groups: dict[tuple[str, str], list[Culprit]] = {}
    for culprit in culprits:
        key = re.sub(r"\d+", "#", culprit.tap.name), "; ".join(culprit.settings[:1])
        groups.setdefault(key, []).append(culprit)
    return list(groups.values())


def verdict(report: Report) -> Iterator[str]:
    """The culprits alone, with what is known about each."""
    if not report.taps:
        yield "nothing could be replayed"
        return
    if not report.culprits:
        yield "no module introduces an error"
        if report.settings:
            names = list(report.settings)
            more = f", and in {len(names) - 1} other modules" if len(names) > 1 else ""
            yield f"        but settings differ: {names[0]}: {', '.join(report.settings[names[0]])}{more}"
        return
    for position, group in enumerate(grouped(report.culprits)):
        first = group[0]
        names = list(dict.fromkeys(culprit.tap.name for culprit in group))
        worst = max((culprit.tap.introduced.ratio or 0.0 for culprit in group), default=0.0)
        yield f"{'CULPRIT' if not position else 'also   '} {first.tap.name}" + (
            f" (and {len(names) - 1} alike, to {names[-1]})" if len(names) > 1 else ""
        )
        result = first.tap.introduced
        if result.ratio is None:
            yield f"        {result.cause}"
        else:
            yield (
                f"        introduces R {worst:.3g} in {first.tap.point or first.tap.output} "
                f"(bound {report.bound:g}), max |Δ| {result.max_abs or 0.0:.2g}"
            )
            yield f"        {result.cause}"
        for text in (first.step, *first.settings, *first.tensors):
            if text:
                yield f"        {text}"


def _row(tap: Tap, bound: float, born: bool) -> str:
    result = tap.introduced
    own = "bit-equal" if result.ratio is None and not tap.failed else _figure(result.ratio, "unlike")
    name = tap.point or ""
    where = f"{tap.name}{f' (call {tap.occurrence + 1})' if tap.occurrence else ''}"
    state = "inherited" if tap.total is not None and tap.total > bound else ""
    if tap.failed:
        state = "BORN HERE" if born else "around it"
    text = f"{own:>10} {_figure(tap.total, ''):>10}  {name:22} {where}"
    return f"{text}  {state}".rstrip()


def _lists(report: Report, everything: bool) -> Iterator[str]:
    for title, names in (
        ("only upstream has", report.only_theirs),
        ("only ours has", report.only_ours),
        ("not replayed", tuple(f"{name} ({why})" for name, why in report.skipped.items())),
        ("tensors that differ", report.tensors),
        ("settings that differ", tuple(f"{n}: {', '.join(found)}" for n, found in report.settings.items())),
    ):
        if names:
            shown = names if everything else names[:6]
            rest = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
            yield f"{title}: {'; '.join(shown)}{rest}"


def _tap_json(tap: Tap) -> dict[str, Any]:
    result = tap.introduced
    return {
        "module": tap.name,
        "call": tap.occurrence,
        "output": tap.output,
        "point": tap.point,
        "verdict": str(result.verdict),
        "introduced": _finite(result.ratio),
        "in_all": _finite(tap.total),
        "max_abs": _finite(result.max_abs),
        "draws": result.draws,
        "cause": result.cause,
    }


def _figure(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:.3g}"


def _finite(value: float | None) -> float | str | None:
    return value if value is None or abs(value) < float("inf") else str(value)
