"""`python -m parity`: the harness's commands.

Exit status: 0 all held; 1 something diverged, or a reference's process failed; 2 bad input or usage, in one sentence;
3 nothing ran, or a reference that was asked for by name is missing; 130 after Ctrl-C, 143 after SIGTERM.
"""

import argparse
import sys
from collections.abc import Sequence

from parity.commands import (
    bench,
    calibrate,
    cases,
    contracts,
    diverge,
    interruption,
    layouts,
    mutants,
    record,
    run,
    swap,
    synthesize,
    truth_check,
    where,
)
from parity.commands.interruption import Interrupted
from parity.errors import UsageError, WorkerError
from samblocks.errors import SamblocksError

_COMMANDS = (
    run,
    diverge,
    record,
    mutants,
    calibrate,
    layouts,
    bench,
    swap,
    synthesize,
    contracts,
    cases,
    where,
    truth_check,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="parity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(subparsers)
    options = parser.parse_args(arguments)
    with interruption.unwinding():
        try:
            status: int = options.action(options)
        except (UsageError, SamblocksError, OSError, WorkerError) as error:
            print(f"parity: {' '.join(str(error).split())}", file=sys.stderr)
            return 1 if isinstance(error, WorkerError) else 2
        except KeyboardInterrupt as interrupt:
            print("parity: interrupted", file=sys.stderr)
            return interrupt.status if isinstance(interrupt, Interrupted) else 130
        return status


if __name__ == "__main__":
    sys.exit(main())
