"""`parity cases`: list the cases and what each pins."""

import argparse

from parity.cases import all_cases

HELP = "list the cases"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--block", metavar="NAME", help="only those of this block")


def run(options: argparse.Namespace) -> int:
    """Print the list; 3 if there are none."""
    chosen = [case for case in all_cases().values() if options.block in (None, case.block)]
    width = max((len(case.id) for case in chosen), default=0)
    for case in chosen:
        print(f"{case.id:{width}}  {case.why}")
    print(f"{len(chosen)} cases")
    return 0 if chosen else 3
