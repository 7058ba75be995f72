"""What a checkpoint file is and what becomes of each of its tensors, as plain data and as a text for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from samblocks.checkpoints.reading.read import Ignored
from samblocks.errors import LONGEST, counted, printable
from samblocks.layouts.tensors import shape_text

STATUSES: Final = ("used", "renamed", "packed", "converted", "dropped", "unexplained")
"""What can become of a tensor; each has exactly one."""

SCHEMA: Final = 1

_LONGEST_LIST = 20
_LABEL = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor of a file.

    Args:
        name: as in the file.
        shape: as in the file.
        dtype: as in the file, by safetensors' name.
        nbytes: of its elements.
        status: one of `STATUSES`.
        targets: the names in the model that it becomes, or becomes part of.
        op: what is done to its values; empty where nothing is.
        why: the reason where it is dropped or unexplained.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    status: str
    targets: tuple[str, ...] = ()
    op: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A setting of the model, with the value taken and where it came from."""

    name: str
    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A tensor of the model that the file does not give as it is needed.

    Args:
        name: in the model.
        shape: that the model has.
        found: the shape that the file has; None where it has no such tensor.
        why: what is done or could be done about it.
    """

    name: str
    shape: tuple[int, ...]
    found: tuple[int, ...] | None = None
    why: str = ""


@dataclass(frozen=True)
class LoadReport:
    """An explained checkpoint file.

    Args:
        path: the file.
        container: `"safetensors"`, `"torch"` or `"torch (before 1.6)"`.
        file_bytes: size of the file.
        envelope: key under which the state dict lies; empty where the file is flat.
        prefix: what stands in front of the layout's names.
        layout: one of `samblocks.layouts.LAYOUTS`.
        model_class: the class of transformers that writes such files, where that is known.
        candidates: the variants that the tensors fit.
        variant: the one that the report is about.
        component: the part of the model that the report is about; None for all of it.
        evidence: what led to layout and candidates.
        dtypes: number of tensors by dtype.
        parameters: trained numbers among the tensors that are taken; a tied matrix counts once.
        rows: every tensor of the state dict, in the file's order.
        missing: tensors of the model that nothing in the file becomes.
        misshapen: tensors whose shape is not the model's.
        resized: tensors that are resized, with the policy.
        invented: tensors of the model that no file of this layout holds, with what is put there.
        ignored: what the file holds next to the state dict.
        stored_bytes: bytes of the file that the rows' tensors take; less than their sum if some are shared.
        facts: settings that do not follow from the weights.
        metadata: a safetensors file's own texts.
        sha256: of the file, where it was asked for.
        locked_as: names in checkpoints.lock of the file that this is.
        locked_by: what that rests on: `"sha256"`, or `"size and tensors"` where the hash was not computed.
    """

    path: Path
    container: str
    file_bytes: int
    envelope: str
    prefix: str
    layout: str
    model_class: str | None
    candidates: tuple[str, ...]
    variant: str
    component: str | None
    evidence: tuple[str, ...]
    dtypes: Mapping[str, int]
    parameters: int
    rows: tuple[Row, ...] = field(repr=False)
    missing: tuple[Gap, ...]
    misshapen: tuple[Gap, ...]
    resized: tuple[Gap, ...]
    invented: tuple[Gap, ...]
    ignored: tuple[Ignored, ...]
    stored_bytes: int
    facts: tuple[Fact, ...] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    locked_as: tuple[str, ...] = ()
    locked_by: str = ""

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all tensors of the state dict."""
        return sum(row.nbytes for row in self.rows)

    @property
    def totals(self) -> dict[str, tuple[int, int]]:
        """Number and bytes of the tensors by status, in the order of `STATUSES`; they add up to all of them."""
        found = dict.fromkeys(STATUSES, (0, 0))
        for row in self.rows:
            count, nbytes = found[row.status]
            found[row.status] = (count + 1, nbytes + row.nbytes)
        return found

    @property
    def unexplained(self) -> tuple[Row, ...]:
        """The tensors that nothing is known about."""
        return tuple(row for row in self.rows if row.status == "unexplained")

    @property
    def complete(self) -> bool:
        """Whether every tensor of the file is explained and every one of the model is filled."""
        return not (self.unexplained or self.missing or self.misshapen)

    def to_json(self) -> str:
        """The whole report as JSON."""
        data: dict[str, Any] = {"schema": SCHEMA, **asdict(self)}
        data["path"] = str(self.path)
        data |= {"tensors": len(self.rows), "tensor_bytes": self.tensor_bytes, "complete": self.complete}
        data["totals"] = {status: {"tensors": n, "bytes": b} for status, (n, b) in self.totals.items()}
        return json.dumps(data, indent=1)

    def __str__(self) -> str:
        return _as_text(self)


def _as_text(report: LoadReport) -> str:
    """Lay a report out in lines."""
    return "\n".join(
        [
            printable(str(report.path), LONGEST),
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
    for ignored in report.ignored:
        held = f"{ignored.tensors:,} tensors, {ignored.nbytes:,} bytes" if ignored.tensors else "no tensor"
        yield _line("", f'next to it, not used: "{printable(ignored.name, 60)}" ({held})')
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
            yield _line(
                status,
                f"{counted(sum(len(rows) for _, rows in chosen), 'tensor')} in {counted(len(chosen), 'group')}",
            )
        for (_, source, targets, op, why), rows in chosen:
            arrow = f" -> {targets}" if targets and targets != source else ""
            notes = "; ".join(note for note in (op, why) if note)
            yield _line(f"{len(rows):>8}  ", source + arrow + (f"  [{notes}]" if notes else ""))
    if report.unexplained:
        yield ""
        yield _line("unexplained", counted(len(report.unexplained), "tensor"))
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
            yield _line(title, f"{counted(len(gaps), 'tensor')} of the model")
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
    yield _line("settings", "that do not follow from the weights")
    by_origin: dict[str, list[Fact]] = {}
    for fact in report.facts:
        by_origin.setdefault(fact.origin, []).append(fact)
    for origin, facts in by_origin.items():
        yield _line("", f"from {origin}:")
        width = max(len(fact.name) for fact in facts)
        for fact in facts:
            yield _line("", f"  {fact.name:<{width}}  {fact.value}")
