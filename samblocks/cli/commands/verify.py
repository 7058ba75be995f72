"""`samblocks verify DIR`: does what a parity card says about exported files still hold here?"""

from __future__ import annotations

import argparse
import json
import sys

from samblocks.cli import values
from samblocks.errors import EngineError

HELP = "repeat what the parity card of exported files says"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=values.path, metavar="DIR", help="what samblocks export wrote")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verify and print the figures; 1 if something does not hold, or a file is not the one that the card is of."""
    from samblocks.engines import verify_script

    try:
        card, rows, wrong = verify_script.verify(arguments.folder)
    except verify_script.Damaged as error:
        raise EngineError(str(error)) from None
    except verify_script.Changed as error:
        if arguments.json:
            print(json.dumps({"schema": 1, "holds": False, "rows": [], "failures": str(error).splitlines()}))
        else:
            print(error, file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"schema": 1, "holds": not wrong, "rows": rows, "failures": wrong}, indent=2))
    else:
        print(verify_script.text(card, rows, wrong))
    return 1 if wrong else 0
