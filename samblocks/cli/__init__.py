"""The command line: `samblocks COMMAND …`, the same as `python -m samblocks COMMAND …`.

Every file of `samblocks.cli.commands` is a command; `command_line` says what it has to have.

| status | meaning |
|---|---|
| 0 | all held |
| 1 | something diverged, or a check failed |
| 2 | bad input or usage: one sentence on standard error |
| 3 | nothing ran |
"""

from __future__ import annotations

from collections.abc import Sequence

from samblocks.cli import commands
from samblocks.cli.command_line import BAD_INPUT, run_command
from samblocks.errors import SamblocksError

__all__ = ["main"]


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
