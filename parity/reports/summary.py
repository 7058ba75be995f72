"""What a run found: one line for each case and reference, worst first, and the JSON for machines."""

import json
import platform
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from parity.reports.line import MEANINGS, NOTHING, Line
from parity.run.judging import Row
from parity.verdict.compare import Verdict
from parity.verdict.mask_impact import as_json, together
from samblocks.files import write_text

SCHEMA = 1

_ORDER = tuple(MEANINGS)


def summarize(rows: Sequence[Row]) -> list[Line]:
    """One line for each case and reference, worst first."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.id, row.reference), []).append(row)
    lines = []
    for (case_id, reference), group in groups.items():
        worst = min(group, key=badness)
        ratios = [
            row.comparison.ratio
            for row in group
            if row.dtype != "float64" and row.comparison.ratio is not None
        ]
        doubles = [
            row.comparison.ratio
            for row in group
            if row.dtype == "float64" and row.comparison.ratio is not None
        ]
        largest = [
            row.comparison.max_abs
            for row in group
            if row.dtype != "float64" and row.comparison.max_abs is not None
        ]
        lines.append(
            Line(
                case_id,
                reference,
                worst.comparison.verdict,
                max(ratios, default=None),
                max(doubles, default=None),
                max(largest, default=None),
                _named(worst) if worst.comparison.verdict.failed else "",
                worst.comparison.cause,
            )
        )
    return sorted(lines, key=lambda line: (_ORDER.index(line.verdict), -(line.ratio or 0.0), line.id))


def effect(rows: Sequence[Row], line: Line) -> str:
    """What the differences of a whole model do to masks, choices and objects, in one line."""
    return together(
        [
            row.impact
            for row in rows
            if (row.id, row.reference) == (line.id, line.reference) and row.impact is not None
        ]
    )


def distribution(rows: Iterable[Row]) -> Iterator[str]:
    """How R is distributed over all outputs, by precision; bit-equal outputs have no R and are counted."""
    by_dtype: dict[str, list[float]] = {}
    equal: Counter[str] = Counter()
    for row in rows:
        if row.comparison.verdict is Verdict.EXACT:
            equal[row.dtype] += 1
        elif row.comparison.verdict in (Verdict.WITHIN, Verdict.NOISE) and row.comparison.ratio is not None:
            by_dtype.setdefault(row.dtype, []).append(row.comparison.ratio)
    for dtype in sorted(set(by_dtype) | set(equal)):
        figures = sorted(by_dtype.get(dtype, []))
        name = "relative difference" if dtype == "float64" else "R"
        if not figures:
            yield f"{dtype}: {equal[dtype]} outputs bit-equal"
            continue
        form = ".1e" if dtype == "float64" else ".3f"
        cuts = [
            figures[min(len(figures) - 1, int(len(figures) * share))] for share in (0.05, 0.5, 0.95, 0.99)
        ]
        quantiles = ", ".join(
            f"{name} {value:{form}}"
            for name, value in zip(("5 %", "median", "95 %", "99 %"), cuts, strict=True)
        )
        yield (
            f"{dtype}: {equal[dtype]} outputs bit-equal, {len(figures)} others: {name} {quantiles}, "
            f"max {figures[-1]:{form}}, mean {statistics.fmean(figures):{form}}"
        )


def counts(rows: Sequence[Row]) -> dict[Verdict, int]:
    """How many case-reference pairs had each verdict, worst first."""
    tally = Counter(line.verdict for line in summarize(rows))
    return {verdict: tally[verdict] for verdict in _ORDER if tally[verdict]}


def status(rows: Sequence[Row], *, incomplete: bool = False) -> int:
    """The exit status: 0 all held, 1 something diverged, 3 nothing ran or a reference is missing that must not be."""
    tally = counts(rows)
    if any(verdict.failed for verdict in tally):
        return 1
    ran = any(verdict not in NOTHING for verdict in tally)
    return 3 if incomplete or not ran else 0


def write_json(rows: Sequence[Row], path: Path, versions: Mapping[str, Mapping[str, str]]) -> None:
    """Write the report for machines, whole or not at all."""
    document = {
        "schema": SCHEMA,
        "environment": environment(versions),
        "cases": [record(row) for row in rows],
    }
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def record(row: Row) -> dict[str, Any]:
    """One row for machines."""
    return (
        {
            "id": row.id,
            "reference": row.reference,
            "dtype": row.dtype,
            "output": row.output,
            "verdict": str(row.comparison.verdict),
            "ratio": _finite(row.comparison.ratio),
            "max_abs": _finite(row.comparison.max_abs),
            "index": list(row.comparison.index) if row.comparison.index is not None else None,
            "cause": row.comparison.cause,
        }
        | ({"draws": row.comparison.draws} if row.comparison.draws > 1 else {})
        | _metrics(row)
        | ({"impact": as_json(row.impact)} if row.impact is not None else {})
    )


def _metrics(row: Row) -> dict[str, Any]:
    """Distances between ours and upstream's; nothing where bits are equal or nothing could be measured."""
    metrics = row.comparison.metrics
    if metrics is None:
        return {}
    return {"metrics": {name: _finite(value) for name, value in asdict(metrics).items()}}


def environment(versions: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "references": {name: dict(packages) for name, packages in versions.items()},
    }


def badness(row: Row) -> tuple[int, float]:
    """What rows are sorted by, worst first."""
    return _ORDER.index(row.comparison.verdict), -(row.comparison.ratio or 0.0)


def _named(row: Row) -> str:
    return f"{row.output} ({row.dtype})" if row.dtype else row.output


def _finite(value: float | None) -> float | str | None:
    # JSON has no infinity: a word is better than a file that strict readers refuse.
    return value if value is None or abs(value) < float("inf") else str(value)
