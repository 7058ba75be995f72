"""`python -m parity`: the harness's commands.

Exit status: 0 all held; 1 something diverged, or a reference's process failed; 2 bad input or usage, in one sentence;
3 nothing ran, or a reference that was asked for by name is missing; 130 after Ctrl-C, 143 after SIGTERM.
"""

import sys
from collections.abc import Sequence

from parity import commands
from parity.errors import UsageError, WorkerError
from samblocks.cli.command_line import BAD_INPUT, run_command
from samblocks.errors import SamblocksError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return run_command(
        "parity",
        commands,
        arguments,
        description=__doc__,
        failures={UsageError: BAD_INPUT, SamblocksError: BAD_INPUT, WorkerError: 1},
    )


if __name__ == "__main__":
    sys.exit(main())
