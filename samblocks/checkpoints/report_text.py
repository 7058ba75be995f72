"""A report for people: what the file is, what becomes of its tensors by rule, what the weights cannot tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from samblocks.checkpoints.printable import printable
from samblocks.checkpoints.report import STATUSES, Fact, Gap, LoadReport, Row
from samblocks.layouts.info import shape_text

_LONGEST_LIST = 20
_LABEL = 12


def as_text(report: LoadReport) -> str:
    """Lay a report out in lines."""
    return "\n".join(
        [
            str(report.path),
            *_head(report),
            "",
            *_totals(report),
            *_changes(report),
            *_gaps(report),
            *_facts(report),
        ]
    )


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}"


def _head(report: LoadReport) -> Iterator[str]:
    where = f'under "{printable(report.envelope)}"' if report.envelope else "flat"
    yield _line("file", f"{report.container}, {report.file_bytes:,} bytes, state dict {where}")
    for beside in report.ignored:
        held = f"{beside.tensors:,} tensors, {beside.nbytes:,} bytes" if beside.tensors else "no tensor"
        yield _line("", f'beside it, not used: "{printable(beside.name, 60)}" ({held})')
    kind = f" ({report.model_class})" if report.model_class else ""
    yield _line(
        "layout", report.layout + kind + (f', names begin with "{report.prefix}"' if report.prefix else "")
    )
    yield _line("variant", report.variant)
    if len(report.candidates) > 1:
        yield _line("", f"the tensors fit each of {', '.join(report.candidates)}")
    if report.component:
        yield _line("part", report.component)
    for sentence in report.evidence:
        yield _line("", sentence)
    yield _line("dtype", ", ".join(f"{dtype} ({count})" for dtype, count in report.dtypes.items()))
    yield _line("parameters", f"{report.parameters:,}")
    if report.sha256:
        yield _line("sha256", report.sha256)
    names = ", ".join(report.locked_as)
    yield _line("lock", f"{names}, by {report.locked_by}" if names else "not among the locked files")


def _totals(report: LoadReport) -> Iterator[str]:
    totals = report.totals
    yield _line("tensors", f"{'':<12}{'count':>7}{'bytes':>16}")
    for status in STATUSES:
        count, nbytes = totals[status]
        if count:
            yield _line("", f"{status:<12}{count:>7,}{nbytes:>16,}")
    yield _line("", f"{'all':<12}{len(report.rows):>7,}{report.tensor_bytes:>16,}")


def _changes(report: LoadReport) -> Iterator[str]:
    """Rows that are alike up to their numbers, as one line."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in report.rows:
        if row.status in ("used", "unexplained"):
            continue
        targets = ", ".join(_pattern(name) for name in row.targets)
        groups.setdefault((row.status, _pattern(row.name), targets, row.op, row.why), []).append(row)
    for status in STATUSES:
        chosen = [(key, rows) for key, rows in groups.items() if key[0] == status]
        if chosen:
            yield ""
            yield _line(status, f"{sum(len(rows) for _, rows in chosen)} tensors in {len(chosen)} groups")
        for (_, source, targets, op, why), rows in chosen:
            arrow = f" -> {targets}" if targets and targets != source else ""
            notes = "; ".join(note for note in (op, why) if note)
            yield _line(f"{len(rows):>8}  ", source + arrow + (f"  [{notes}]" if notes else ""))
    if report.unexplained:
        yield ""
        yield _line("unexplained", f"{len(report.unexplained)} tensors")
        yield from _listed(f"{row.name} ({shape_text(row.shape)}): {row.why}" for row in report.unexplained)


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "{}", name)


def _gaps(report: LoadReport) -> Iterator[str]:
    for title, gaps in (
        ("missing", report.missing),
        ("misshapen", report.misshapen),
        ("resized", report.resized),
        ("invented", report.invented),
    ):
        if gaps:
            yield ""
            yield _line(title, f"{len(gaps)} tensors of the model")
            yield from _listed(_gap(gap) for gap in gaps)


def _gap(gap: Gap) -> str:
    found = "" if gap.found is None else f"{shape_text(gap.found)}, needed "
    return f"{gap.name} ({found}{shape_text(gap.shape)})" + (f": {gap.why}" if gap.why else "")


def _listed(lines: Iterable[str]) -> Iterator[str]:
    items = list(lines)
    for item in items[:_LONGEST_LIST]:
        yield _line("", item)
    if len(items) > _LONGEST_LIST:
        yield _line("", f"… and {len(items) - _LONGEST_LIST} more")


def _facts(report: LoadReport) -> Iterator[str]:
    if not report.facts:
        return
    yield ""
    yield _line("settings", "that the weights do not tell")
    by_origin: dict[str, list[Fact]] = {}
    for fact in report.facts:
        by_origin.setdefault(fact.origin, []).append(fact)
    for origin, facts in by_origin.items():
        yield _line("", f"from {origin}:")
        width = max(len(fact.name) for fact in facts)
        for fact in facts:
            yield _line("", f"  {fact.name:<{width}}  {fact.value}")
