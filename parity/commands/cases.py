"""`parity cases`: list the cases and what each pins."""

import argparse

from parity.cases import all_cases


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("cases", help="list the cases", description=__doc__)
    parser.add_argument("--block", metavar="NAME", help="only those of this block")
    parser.set_defaults(action=_list)


def _list(options: argparse.Namespace) -> int:
    chosen = [case for case in all_cases().values() if options.block in (None, case.block)]
    width = max((len(case.id) for case in chosen), default=0)
    for case in chosen:
        print(f"{case.id:{width}}  {case.why}")
    print(f"{len(chosen)} cases")
    return 0 if chosen else 3
