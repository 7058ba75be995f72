"""`parity bench`: time and memory beside those whom people would pick instead, in turn, so that a busy machine slows
all alike.

Prints tables in Markdown. A ratio is a peer's processor time by that of our eager code in the same precision: above 1
ours is faster. Exit status 1 means that a goal of loading was missed; the other rows have none. 3 means that nothing
ran, or nothing of a peer that was named.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from parity.bench import measure
from parity.bench.contestants import PEERS, USUAL, chosen, python_of
from parity.bench.report import Entry, Report, surroundings
from parity.bench.rows import GROUPS, select
from parity.errors import UsageError
from parity.execution.folders import check_folder, check_input, check_outputs
from parity.reports.bench import page, readme, tables
from parity.workers import options as worker_options
from samblocks.files import write_text

HELP = "time and memory beside upstream's code and other runtimes"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help=f"a row, or a group of them ({', '.join(GROUPS)}; forward is all but the last two); repeatable",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the rows and the peers, and measure nothing"
    )
    parser.add_argument(
        "--peer",
        action="append",
        choices=PEERS,
        metavar="NAME",
        help=f"only this one ({', '.join(PEERS)}; without: {', '.join(USUAL)}); repeatable",
    )
    parser.add_argument(
        "--size", type=int, default=1024, help="side of the images in pixels, a multiple of 64 (default 1024)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="times each side is measured (default 5)")
    parser.add_argument(
        "--threads",
        type=int,
        action="append",
        metavar="N",
        help="threads of each side (default 1); repeatable",
    )
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu", help="where (default cpu)")
    parser.add_argument(
        "--no-error", action="store_true", help="leave the errors against float64 out, which take longest"
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=float("inf"),
        metavar="SECONDS",
        help="begin no further row when so many have passed",
    )
    parser.add_argument("--file", type=Path, help="a sam_vit_h checkpoint to load instead of a made-up one")
    parser.add_argument("--folder", type=Path, help="where the files of loading go (5 GB)")
    reports = parser.add_argument_group("reports")
    reports.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    reports.add_argument("--html", type=Path, metavar="FILE", help="also write it as one page with charts")
    reports.add_argument(
        "--readme",
        type=Path,
        metavar="FILE",
        help="put the table between the marks of this file, and the picture where it shows it",
    )
    reports.add_argument(
        "--from",
        dest="earlier",
        type=Path,
        action="append",
        metavar="FILE",
        help="measure nothing: report what --json wrote; repeatable, later files add to earlier ones",
    )
    worker_options.add(parser)
    parser.add_argument(
        "--peers", type=Path, metavar="FOLDER", help="the peers' environment (default: .peers)"
    )


def run(options: argparse.Namespace) -> int:
    """Measure, print and write; see the module for the exit status."""
    if options.rounds < 1 or min(options.threads or [1]) < 1:
        raise UsageError("--rounds and --threads must be at least 1")
    if options.size < 128 or options.size % 64:
        raise UsageError(f"--size must be a multiple of 64 and at least 128, got {options.size}")
    check_outputs(options.json, options.html)
    check_folder(options.folder, "--folder")
    check_folder(options.peers, "--peers")
    check_input(options.file, "--file")
    if options.readme:
        readme.check(options.readme)
    if options.list:
        print("\n".join(tables.listing(chosen(PEERS))))
        return 0
    missed: list[str] = []
    if options.earlier:
        report = tables.joined([Report.read(file) for file in options.earlier])
        print("\n".join(tables.lines(report)))
    else:
        report, missed = _measured(options)
    if options.json:
        write_text(options.json, report.json())
    if options.html:
        write_text(options.html, page.page(report))
    if options.readme:
        readme.write(report, options.readme)
    for goal in missed:
        print(f"missed: {goal}", file=sys.stderr)
    return _status(report, options.peer or (), missed)


def _measured(options: argparse.Namespace) -> tuple[Report, list[str]]:
    """The report, printed as it comes; and the goals of loading that were missed."""
    threads = list(dict.fromkeys(options.threads or [1]))
    entrants = chosen(options.peer or USUAL)
    rows = select(options.only)
    report = Report(
        surroundings(device=options.device, size=options.size, threads=threads, rounds=options.rounds)
    )
    print(tables.header(report), flush=True)
    missed: list[str] = []
    if _wants(options.only, "load") and options.device == "cpu":
        loading, missed = _loading(options, threads[0])
        report = dataclasses.replace(report, loading=loading)
        print("\n".join(("", *tables.loading(report))), flush=True)
    if _wants(options.only, "import") and options.device == "cpu":
        from parity.bench import imports

        found = imports.compare(options.rounds, options.references, timeout=options.worker_timeout)
        report = dataclasses.replace(report, imports=found)
        print("\n".join(("", *tables.importing(report))), flush=True)
    entries: list[Entry] = []
    products: dict[str, float] = {}
    settings = measure.Settings(
        size=options.size,
        rounds=options.rounds,
        device=options.device,
        judge=not options.no_error,
        budget=options.budget,
        references=options.references,
        peers=options.peers,
        timeout=options.worker_timeout,
    )
    for count in threads if rows else ():
        rates: list[measure.Rates] = []
        for found_now in measure.run(rows, entrants, dataclasses.replace(settings, threads=count), rates):
            entries += found_now
            print("\n".join(("", *tables.row(found_now))), flush=True)
        products |= {f"{count} {precision}": rate for precision, rate in measure.best(rates).items()}
    report = dataclasses.replace(report, entries=entries, products=products)
    print("\n".join(tables.afterwards(report)))
    return report, missed


def _wants(only: Sequence[str], group: str) -> bool:
    return not only or group in only


def _loading(options: argparse.Namespace, threads: int) -> tuple[dict[str, float], list[str]]:
    from parity.bench import load

    python = python_of("references", options.references, None)
    if isinstance(python, str):
        print(f"\nloading: NOT RUN: {python}")
        return {}, []
    found = load.compare(
        python, options.rounds, threads, options.file, options.folder, timeout=options.worker_timeout
    )
    return dataclasses.asdict(found), found.missed


def _status(report: Report, named: Sequence[str], missed: Sequence[str]) -> int:
    ran = {entry.contestant.peer for entry in report.entries if entry.ran}
    if not ran and not report.loading and not any("reason" not in found for found in report.imports.values()):
        return 3
    if report.entries and any(peer not in ran for peer in named):
        return 3
    return 1 if missed else 0
