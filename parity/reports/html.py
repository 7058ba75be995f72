"""One self-contained page about a run: what was compared, what did not hold and where, and how to read it.

No external resources: styles, the filter, figures and maps are in the file. Needs the extra `plots`.
"""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from parity.extras import need_plots
from parity.reports import summary
from parity.reports.charts import histograms, panels, slug
from parity.reports.kill_matrix import Matrix, matrix
from parity.reports.line import MEANINGS, NOTHING, Line, block_of, largest, ratio, small
from parity.run.judging import Row
from parity.verdict.compare import Comparison, Verdict
from parity.verdict.error_map import ErrorMap, png

_MAPS = 12
_MAPS_OF_A_BLOCK = 3
_CELLS = 16


@dataclass(frozen=True)
class Map:
    """A heat map with what stands beside it."""

    image: str
    case: str
    reference: str
    output: str
    verdict: str
    slug: str
    ratio: str
    peak: str
    axes: str
    wide: float


def page(
    records: Sequence[Mapping[str, Any]],
    environment: Mapping[str, Any],
    *,
    title: str = "parity",
    mutants: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    status: int | None = None,
) -> str:
    """The page as text.

    Args:
        records: one for each output, as in the JSON report; a record may carry an "error_map".
        environment: where the figures come from, as in the JSON report.
        title: what was held against what.
        mutants: what `parity mutants --json` wrote, for the kill matrix.
        notes: sentences on libraries that stand apart.
        status: the run's exit status, where it does not follow from the records alone.

    Raises:
        UsageError: when the extra `plots` is not installed.
    """
    need_plots("an HTML report")
    from jinja2 import Environment, PackageLoader, StrictUndefined

    rows = [_row(record) for record in records]
    lines = summary.summarize(rows)
    counts = summary.counts(rows)
    engine = Environment(
        loader=PackageLoader("parity", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters |= {"ratio": ratio, "small": small, "slug": slug}
    groups = {(line.id, line.reference): place for place, line in enumerate(lines)}
    details: list[list[list[Any]]] = [[] for _ in lines]
    for row in rows:
        details[groups[row.id, row.reference]].append(_detail(row))
    return engine.get_template("page.html.j2").render(
        title=title,
        lines=lines,
        details=details,
        counts=counts,
        outputs=sum(row.output != "-" for row in rows),
        failed=sum(number for verdict, number in counts.items() if verdict.failed),
        status=summary.status(rows) if status is None else status,
        ran=any(verdict not in NOTHING for verdict in counts),
        meanings=MEANINGS,
        references=sorted({line.reference for line in lines} - {""}),
        versions=environment.get("references") or {},
        own=version(),
        blocks=sorted({line.block for line in lines}),
        histograms=histograms(rows),
        panels=panels(rows),
        maps=_maps(rows),
        known=_known(lines),
        matrix=matrix(mutants) if mutants is not None else Matrix(),
        notes=list(notes),
        doubles=any(line.double is not None for line in lines),
        environment={name: value for name, value in environment.items() if name != "references"},
    )


def _row(record: Mapping[str, Any]) -> Row:
    """A record as the row that it was written from; what a pytest session does not name stays empty."""
    error_map, index = record.get("error_map"), record.get("index")
    comparison = Comparison(
        Verdict(record["verdict"]),
        _number(record.get("ratio")),
        _number(record.get("max_abs")),
        tuple(index) if index is not None else None,
        str(record.get("cause") or ""),
        draws=int(record.get("draws") or 1),
        error_map=ErrorMap.from_record(error_map) if error_map else None,
    )
    reference, dtype = str(record.get("reference") or ""), str(record.get("dtype") or "")
    return Row(str(record["id"]), reference, dtype, str(record.get("output") or "-"), comparison)


def _number(value: float | str | None) -> float | None:
    # JSON has no infinity: the report writes it as a word.
    return None if value is None else float(value)


def _detail(row: Row) -> list[Any]:
    """One output for the rows that open under a line."""
    found = row.comparison
    figure = small(found.ratio) if row.dtype == "float64" else ratio(found.ratio)
    where = str(list(found.index)) if found.index is not None and found.max_abs else ""
    return [row.output, row.dtype, str(found.verdict), figure, small(found.max_abs), where, found.cause]


def _maps(rows: Sequence[Row]) -> list[Map]:
    """The maps of the worst outputs: one of a case, few of a block, so that the page shows different things."""
    cases: set[str] = set()
    blocks: Counter[str] = Counter()
    maps = []
    for row in sorted((row for row in rows if row.dtype != "float64"), key=summary.badness):
        error_map, about = row.comparison.error_map, block_of(row.id)
        if (
            error_map is None
            or len(error_map.levels) < _CELLS
            or row.id in cases
            or blocks[about] >= _MAPS_OF_A_BLOCK
        ):
            continue
        cases.add(row.id)
        blocks[about] += 1
        maps.append(_map(row, error_map))
        if len(maps) == _MAPS:
            break
    return maps


def _map(row: Row, error_map: ErrorMap) -> Map:
    verdict = str(row.comparison.verdict)
    (first, second), shape = error_map.axes, error_map.shape
    return Map(
        image="data:image/png;base64," + base64.b64encode(png(error_map)).decode(),
        case=row.id,
        reference=row.reference,
        output=row.output,
        verdict=verdict,
        slug=slug(verdict),
        ratio=ratio(row.comparison.ratio),
        peak=small(error_map.peak),
        axes=f"{shape[first]} × {shape[second]}, axes {first} and {second} of {list(shape)}",
        wide=min(6.0, max(1 / 3, error_map.columns / error_map.rows)),
    )


def _known(lines: Sequence[Line]) -> list[tuple[str, str, str, list[str]]]:
    """Recorded differences: reference, cause, the largest figures, and the cases that show it."""
    found: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        if line.verdict is Verdict.KNOWN:
            found.setdefault((line.reference, line.cause), []).append(line)
    return [
        (reference, cause, largest(those), [line.id for line in those])
        for (reference, cause), those in found.items()
    ]


def version() -> str:
    """This package's version; empty in a checkout that is not installed."""
    try:
        return metadata.version("samblocks")
    except metadata.PackageNotFoundError:  # run from a checkout
        return ""
