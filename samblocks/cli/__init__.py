"""The command line: `samblocks COMMAND …`, the same as `python -m samblocks COMMAND …`.

Every file of `samblocks.cli.commands` is a command; `command_line` says what it has to have.

| status | meaning |
|---|---|
| 0 | all held |
| 1 | something diverged, or a check failed |
| 2 | bad input or usage: one sentence on standard error |
| 3 | nothing ran |
"""

from samblocks.cli.main import main

__all__ = ["main"]
