"""What `parity run` writes beside its table: a page, JSON, JUnit, SARIF, and annotations on GitHub."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.errors import UsageError
from parity.extras import need_plots
from parity.reports import github, html, junit, sarif, summary
from parity.reports.kill_matrix import matrix
from parity.run.judging import Row
from samblocks.files import write_text


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("reports")
    group.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    group.add_argument(
        "--html", type=Path, metavar="FILE", help="write it as one page, with maps of where the errors sit"
    )
    group.add_argument(
        "--mutants", type=Path, metavar="FILE", help="with --html: add what `parity mutants --json` wrote"
    )
    group.add_argument("--junit", type=Path, metavar="FILE", help="write it as JUnit XML")
    group.add_argument("--sarif", type=Path, metavar="FILE", help="write what did not hold as SARIF")
    group.add_argument(
        "--github",
        action="store_true",
        help="print what did not hold as GitHub annotations (by itself in a GitHub workflow)",
    )


def check(options: argparse.Namespace) -> None:
    """Complain before the run, which may take long, about what would fail after it.

    Raises:
        UsageError: an extra is missing, a folder cannot be written to, or the file of mutants is none.
    """
    if options.html is not None:
        need_plots("--html")
    elif options.mutants is not None:
        raise UsageError("--mutants adds to the page that --html writes, which was not asked for")
    if options.mutants is not None:
        _mutants(options.mutants)
    for file in (options.json, options.html, options.junit, options.sarif):
        if file is not None and file.is_dir():
            raise UsageError(f"{file} is a folder, not a file that a report could be written to")
        if file is not None and not os.access(_existing(file.absolute().parent), os.W_OK):
            raise UsageError(f"{file} cannot be written: its folder is not writable")


def write(
    options: argparse.Namespace,
    rows: Sequence[Row],
    versions: Mapping[str, Mapping[str, str]],
    seconds: float,
    notes: Sequence[str] = (),
    status: int | None = None,
) -> None:
    """Write what was asked for.

    Args:
        options: with those that `add` added.
        rows: what the run yielded.
        versions: of each reference's packages.
        seconds: how long the run took.
        notes: sentences on libraries that stand apart.
        status: the run's exit status.
    """
    for file in filter(None, (options.json, options.html, options.junit, options.sarif)):
        file.parent.mkdir(parents=True, exist_ok=True)
    if options.json is not None:
        summary.write_json(rows, options.json, versions)
    if options.junit is not None:
        junit.write(rows, options.junit, versions, seconds)
    if options.sarif is not None:
        sarif.write(rows, options.sarif, html.version())
    if options.html is not None:
        page = html.page(
            [_with_error_map(row) for row in rows],
            summary.environment(versions),
            title="samblocks against its references",
            mutants=_mutants(options.mutants) if options.mutants is not None else None,
            notes=notes,
            status=status,
        )
        write_text(options.html, page)
    if options.github or os.environ.get("GITHUB_ACTIONS") == "true":
        for line in github.lines(rows):
            print(line)


def _with_error_map(row: Row) -> dict[str, Any]:
    error_map = row.comparison.error_map
    return summary.record(row) | ({"error_map": error_map.record()} if error_map is not None else {})


def _mutants(file: Path) -> Mapping[str, Any]:
    try:
        document: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        matrix(document)
    except ValueError as damage:
        raise UsageError(f"{file} is not what `parity mutants --json` writes: {damage}") from None
    return document


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
