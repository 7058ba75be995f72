"""`samblocks lock-check`: whether the hosts still have what the list of checkpoints says."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter

from samblocks.cli.text import table

HELP = "ask the hosts whether the list of public checkpoints still holds"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help="check these alone; by default all that is locked"
    )
    parser.add_argument("--source", help="check the files from this source alone")
    parser.add_argument("--full", action="store_true", help="download each file and compare its hash")
    parser.add_argument("--unlocked", action="store_true", help="ask for what is not known of unlocked files")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Check the list; 1 if something differs, 3 if nothing, or not all that was named, could be checked."""
    from samblocks.checkpoints import published

    if arguments.names and arguments.unlocked:
        raise ValueError("--unlocked looks up all files that are not locked; it takes no names")
    rows: list[published.Entry | published.Unlocked]
    if arguments.names:
        rows = [published.find(name, arguments.source) for name in arguments.names]
    else:
        listed = published.read_lock()
        everything = listed.unlocked if arguments.unlocked else listed.entries
        rows = [row for row in everything if arguments.source in (None, row.source)]
    if not rows:
        raise ValueError(f"no such file is listed from source {arguments.source!r}")
    findings = list(published.survey(rows, full=arguments.full))
    count = Counter(finding.verdict for finding in findings)
    if arguments.json:
        print(json.dumps({"schema": 1, "findings": [dataclasses.asdict(f) for f in findings]}, indent=1))
    else:
        table(("NAME", "VERDICT", "DETAIL"), [(f.name, f.verdict, f.detail) for f in findings])
        print(", ".join(f"{number} {verdict}" for verdict, number in count.items()))
    if count[published.Verdict.DIFFERS]:
        return 1
    not_reached = count[published.Verdict.NOT_REACHED]
    missed = not_reached > 0 if arguments.names else not_reached == len(findings)
    return 3 if missed else 0
