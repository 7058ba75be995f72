"""`samblocks list`: the public checkpoints, and what is known of each."""

from __future__ import annotations

import argparse
import dataclasses
import json

from samblocks.checkpoints import published
from samblocks.cli.text import megabytes, table

HELP = "list the public checkpoints that are known, locked or not"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--json", action="store_true", help="print every field of every file as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the list."""
    listed = published.read_lock()
    if arguments.json:
        print(json.dumps(_as_json(listed), indent=1))
        return 0
    table(
        ("NAME", "VARIANT", "LAYOUT", "SOURCE", "MB", "SHA256"),
        [
            (row.name, row.variant, row.layout, row.source, megabytes(row.bytes), row.sha256[:12])
            for row in listed.entries
        ],
        right=("MB",),
    )
    if listed.unlocked:
        print("\nKnown, but not locked and therefore not fetched:\n")
        table(
            ("NAME", "VARIANT", "LAYOUT", "SOURCE", "NOT CONFIRMED"),
            [
                (row.name, row.variant, row.layout, row.source, ", ".join(row.missing))
                for row in listed.unlocked
            ],
        )
    return 0


def _as_json(listed: published.Lock) -> dict[str, object]:
    return {
        "schema": 1,
        "lock": str(listed.path),
        "checkpoints": [dataclasses.asdict(row) for row in listed.entries],
        "unlocked": [dataclasses.asdict(row) for row in listed.unlocked],
    }
