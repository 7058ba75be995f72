"""`parity cases`: list the cases and what each pins."""

import argparse

from parity.cases import of
from samblocks.errors import counted

HELP = "list the cases"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--block", action="append", metavar="NAME", help="only this block's, or the one with this id"
    )


def run(options: argparse.Namespace) -> int:
    """Print the list."""
    chosen = of(options.block or ())
    width = max(len(case.id) for case in chosen)
    for case in chosen:
        print(f"{case.id:{width}}  {case.why}")
    print(counted(len(chosen), "case"))
    return 0
