"""The program `samblocks`."""

from __future__ import annotations

from collections.abc import Sequence

from samblocks.cli import commands
from samblocks.cli.command_line import BAD_INPUT, run_command
from samblocks.errors import SamblocksError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments without the program's name; by default those of the process.

    Returns:
        The exit status.
    """
    return run_command(
        "samblocks",
        commands,
        argv,
        description="The Segment Anything building blocks: public checkpoints, found, explained and converted.",
        failures=dict.fromkeys((SamblocksError, ValueError, TypeError), BAD_INPUT),
    )
