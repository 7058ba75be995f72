"""A run as a JUnit file, which every CI shows: one test case for each case and reference, with its figures."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from parity.reports import summary
from parity.reports.html import MEANINGS
from parity.run.judging import Row
from parity.verdict.compare import Verdict
from samblocks.files import write_text

_SKIPPED = (Verdict.NOT_RUN, Verdict.NO_COUNTERPART)


def text(rows: Sequence[Row], versions: Mapping[str, Mapping[str, str]], seconds: float = 0.0) -> str:
    """The file's text.

    Args:
        rows: what the run yielded.
        versions: of the references' packages.
        seconds: how long the run took.
    """
    suites = ET.Element("testsuites", name="parity")
    lines = summary.summarize(rows)
    for reference in dict.fromkeys(line.reference for line in lines):
        mine = [line for line in lines if line.reference == reference]
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=f"parity.{reference}",
            tests=str(len(mine)),
            failures=str(sum(line.verdict.failed for line in mine)),
            errors="0",
            skipped=str(sum(line.verdict in _SKIPPED for line in mine)),
            time=f"{seconds:.1f}",
        )
        _properties(suite, {f"version.{name}": found for name, found in versions.get(reference, {}).items()})
        for line in mine:
            _case(suite, line, [row for row in rows if (row.id, row.reference) == (line.id, reference)])
    ET.indent(suites)
    body = ET.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{_printable(body)}\n'


def write(
    rows: Sequence[Row], path: Path, versions: Mapping[str, Mapping[str, str]], seconds: float = 0.0
) -> None:
    """Write the file; a temporary file, then a rename."""
    write_text(path, text(rows, versions, seconds))


def _case(suite: ET.Element, line: summary.Line, rows: Sequence[Row]) -> None:
    block, _, name = line.id.partition("/")
    case = ET.SubElement(suite, "testcase", classname=f"parity.{line.reference}.{block}", name=name or block)
    case.set("time", "0")
    figures = {"R": line.ratio, "relative_difference_float64": line.double, "max_abs": line.max_abs}
    _properties(
        case,
        {"verdict": str(line.verdict), "outputs": str(sum(row.output != "-" for row in rows))}
        | {key: f"{value:.6g}" for key, value in figures.items() if value is not None},
    )
    if line.verdict.failed:
        failure = ET.SubElement(case, "failure", type=str(line.verdict), message=describe(line))
        failure.text = "\n".join(detail(row) for row in rows if row.comparison.verdict.failed)
    elif line.verdict in _SKIPPED:
        ET.SubElement(case, "skipped", message=line.cause or MEANINGS[line.verdict])


def describe(line: summary.Line) -> str:
    """One line of the report in a sentence."""
    parts = [f"{line.verdict} against {line.reference}"]
    if line.ratio is not None:
        parts.append(f"R {line.ratio:.3g}")
    if line.max_abs:
        parts.append(f"max |Δ| {line.max_abs:.2g}")
    return f"{line.id}: {', '.join(parts)}" + (
        f" — {' '.join(part for part in (line.output, line.cause) if part)}"
        if line.output or line.cause
        else ""
    )


def detail(row: Row) -> str:
    """One output in a sentence."""
    found = row.comparison
    name = "relative difference" if row.dtype == "float64" else "R"
    figures = "" if found.ratio is None else f", {name} {found.ratio:.3g}"
    if found.max_abs:
        figures += f", max |Δ| {found.max_abs:.2g} at {list(found.index or ())}"
    return f"{row.output} ({row.dtype}): {found.verdict}{figures}" + (
        f": {found.cause}" if found.cause else ""
    )


def _properties(parent: ET.Element, values: Mapping[str, str]) -> None:
    if values:
        properties = ET.SubElement(parent, "properties")
        for name, value in values.items():
            ET.SubElement(properties, "property", name=name, value=value)


def _printable(body: str) -> str:
    # What upstream raised may hold characters that XML forbids; readers refuse the whole file for one of them.
    return "".join(c if c in "\n\t" or (c >= " " and c not in "\ufffe\uffff") else "�" for c in body)
