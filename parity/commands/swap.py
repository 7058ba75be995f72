"""`parity swap`: our blocks inside other libraries' pipelines, which must not notice.

Each driver runs on the host's own modules, on ours and, after undoing, on the host's again; once more under autocast to
bfloat16 (bf16), where dtypes must be the host's, too. R is our error against
float64 over the host's, `=` where every bit is equal. Speed and memory are the host's median over ours, measured in
turn: above 1 ours takes less.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parity.errors import UsageError
from parity.execution.folders import check_outputs
from parity.execution.paths import PATHS
from parity.swap.drive import HOSTS, digests, drive
from parity.workers import options as worker_options
from parity.workers.client import interpreter, missing_environment
from samblocks.files import write_text
from samblocks.swap.known_code import PATH, recorded

HELP = "swap our blocks into other libraries' models and run their drivers"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--host", action="append", choices=tuple(HOSTS), help="only this library; repeatable")
    parser.add_argument("--driver", default="", metavar="TEXT", help="only drivers whose names hold this")
    parser.add_argument("--size", type=int, default=256, help="side of the models' images (default 256)")
    parser.add_argument("--repeats", type=int, default=3, help="times each side is measured (default 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the process (default 1)")
    parser.add_argument(
        "--paths",
        choices=sorted(PATHS),
        default="usual",
        help="plain: ours takes no fast path, so that results keep their bits; chunks: all that can be cut is cut; "
        "ragged: into larger chunks, of which the last is smaller; wide, narrow: half precision computed in float32 "
        "inside, or not",
    )
    parser.add_argument(
        "--record-code",
        action="store_true",
        help="swap by names alone, and write down the code of each library whose drivers all held as proven",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")
    worker_options.add(parser)


def run(options: argparse.Namespace) -> int:
    """Drive the hosts and print the table; 1 if a driver failed, 3 if nothing ran."""
    check_outputs(options.json)
    if options.size < 64 or options.size % 64:
        raise UsageError(f"--size must be a multiple of 64, got {options.size}")
    if options.repeats < 0 or options.threads < 1:
        raise UsageError("--repeats must not be negative, --threads at least 1")
    python = interpreter(options.references)
    if python is None:
        print(f"parity: {missing_environment()}", file=sys.stderr)
        return 3
    print(_line("driver", "swapped", "kept", "masks", "front", "flipped", "R", "speed", "memory", "verdict"))
    rows: list[dict[str, Any]] = []
    for host in options.host or HOSTS:
        for row in drive(
            host,
            python,
            size=options.size,
            repeats=options.repeats,
            threads=options.threads,
            only=options.driver,
            paths=options.paths,
            trust="names" if options.record_code else "code",
            timeout=options.worker_timeout,
        ):
            rows.append(row)
            print(_shown(row), flush=True)
    if options.json:
        document = {"schema": 1, "size": options.size, "repeats": options.repeats, "drivers": rows}
        write_text(options.json, json.dumps(document, indent=2) + "\n")
    ran = [row for row in rows if "missing" not in row and "refused" not in row]
    if not ran or (options.host and any("missing" in row for row in rows)):
        print("parity: nothing ran, or a library that was asked for is missing", file=sys.stderr)
        return 3
    failed = [row for row in ran if row["failures"]]
    swapped = sum(len(row.get("swapped", ())) for row in ran)
    print(f"\n{len(ran)} runs of drivers, {swapped} modules swapped, {len(failed)} failed")
    if options.record_code:
        _record(rows, options.host or tuple(HOSTS), python)
    return 1 if failed else 0


def _record(rows: Sequence[dict[str, Any]], hosts: Sequence[str], python: Path) -> None:
    """Add the code of the libraries that held to what is known."""
    bad = {row["library"] for row in rows if "missing" in row or row.get("failures")}
    held = [host for host in hosts if host not in bad]
    document = json.loads(PATH.read_text()) if PATH.exists() else {}
    for row in digests(held, python):
        document = recorded(document, row["digests"], row["version"])
        print(f"{row['version']}: {len(row['digests'])} classes")
    write_text(PATH, json.dumps(document, indent=1) + "\n")


_WIDTHS = (46, 7, 5, 5, 6, 7, 5, 6, 6, 0)


def _line(*cells: str) -> str:
    first, *rest = (
        cell.ljust(width) if place in (0, len(_WIDTHS) - 1) else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )
    return "  ".join((first, *rest)).rstrip()


def _shown(row: dict[str, Any]) -> str:
    name = f"{row['library']} {row['driver']}"
    if "missing" in row or "refused" in row:
        return f"{name.ljust(_WIDTHS[0])}  NOT RUN: {row.get('missing') or row['refused']}"
    if "masks" not in row:
        return f"{name.ljust(_WIDTHS[0])}  FAILED: {'; '.join(row['failures'])}"
    ratio, verdict = row["ratio"], row["verification"]["verdict"]
    lines = [
        _line(
            name,
            str(len(row["swapped"])),
            str(len(row["kept"])),
            str(row["masks"]),
            f"{row['foreground']:.0%}",
            str(row["flipped"]),
            "=" if ratio is None and verdict == "EXACT" else "-" if ratio is None else f"{ratio:.2f}",
            _times(row["speed"]),
            _times(row["memory"]),
            "FAILED: " + "; ".join(row["failures"]) if row["failures"] else verdict,
        )
    ]
    lines += [f"    kept {entry['path']}: {entry['reason']}" for entry in row["kept"]]
    return "\n".join(lines)


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
