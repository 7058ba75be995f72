"""`parity layouts`: every layout of every variant, there and back, in one table.

Files are made up (names, shapes and envelopes are the official ones, values follow from the names). With --live
the upstream packages load what we wrote, strictly, and we load what they wrote; outputs are compared too.
"""

import argparse
import platform
import sys
from pathlib import Path

import torch

from parity.errors import UsageError
from parity.execution.folders import check_outputs, scratch
from parity.layouts import row as rows_of
from parity.layouts.row import Row
from parity.workers import options as worker_options
from samblocks.variants import VARIANTS

HELP = "convert every variant to every layout and back"

QUICK = ("mobile_sam", "sam2_hiera_tiny", "sam2.1_hiera_tiny", "sam_vit_b")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--variant", action="append", metavar="NAME", help="only this one; may be given again"
    )
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--live", action="store_true", help="cross with the upstream packages themselves")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    parser.add_argument("--folder", type=Path, help="where temporary files go (up to 8 GB for sam_vit_h)")
    worker_options.add(parser)


def run(options: argparse.Namespace) -> int:
    """Convert and print the table; 1 if anything diverged, 3 if nothing ran."""
    check_outputs(options.json)
    for name in options.variant or ():
        if name not in VARIANTS:
            raise UsageError(f"no variant is called {name!r}; there are {', '.join(VARIANTS)}")
    variants = options.variant or (QUICK if options.quick or options.live else tuple(VARIANTS))
    versions: dict[str, object] = {"python": platform.python_version(), "torch": torch.__version__}
    rows: list[Row] = []
    with scratch(options.folder) as folder:
        for number, variant in enumerate(variants, 1):
            if sys.stderr.isatty():
                print(f"{number}/{len(variants)} {variant}", file=sys.stderr)
            if options.live:
                from parity.layouts import crossings

                rows += crossings.prove(
                    variant, folder, options.references, versions, timeout=options.worker_timeout
                )
            else:
                from parity.layouts import routes

                rows += routes.prove(variant, folder)
    for line in rows_of.text(rows):
        print(line)
    if options.json:
        rows_of.write_json(rows, options.json, versions)
    return rows_of.status(rows)
