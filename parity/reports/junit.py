"""A run as a JUnit file, which every CI shows: one test case for each case and reference, with its figures."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from parity.reports import summary
from parity.reports.line import MEANINGS, NOTHING, Line, output_sentence
from parity.run.judging import Row
from samblocks.files import write_text


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
            skipped=str(sum(line.verdict in NOTHING for line in mine)),
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


def _case(suite: ET.Element, line: Line, rows: Sequence[Row]) -> None:
    case = ET.SubElement(suite, "testcase", classname=f"parity.{line.reference}.{line.block}", name=line.name)
    case.set("time", "0")
    _properties(
        case,
        {"verdict": str(line.verdict), "outputs": str(sum(row.output != "-" for row in rows))}
        | {key: f"{value:.6g}" for key, value in line.figures.items()},
    )
    if line.verdict.failed:
        failure = ET.SubElement(case, "failure", type=str(line.verdict), message=line.message)
        failure.text = "\n".join(output_sentence(row) for row in rows if row.comparison.verdict.failed)
    elif line.verdict in NOTHING:
        ET.SubElement(case, "skipped", message=line.cause or MEANINGS[line.verdict])


def _properties(parent: ET.Element, values: Mapping[str, str]) -> None:
    if values:
        properties = ET.SubElement(parent, "properties")
        for name, value in values.items():
            ET.SubElement(properties, "property", name=name, value=value)


def _printable(body: str) -> str:
    # What upstream raised may hold characters that XML forbids; readers refuse the whole file for one of them.
    return "".join(c if c in "\n\t" or (c >= " " and c not in "\ufffe\uffff") else "�" for c in body)
