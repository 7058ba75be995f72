"""From the command line to a command, and from whatever happens there to an exit status."""

from __future__ import annotations

import argparse
import contextlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import samblocks
from samblocks.cli import commands
from samblocks.errors import SamblocksError

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells say it
PIPE_CLOSED = 141  # 128 + SIGPIPE


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and end."""
        self.exit(BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments without the program's name; by default those of the process.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a name that cannot be shown
    parser = _parser()
    try:
        arguments = parser.parse_args(argv)
        if arguments.command is None:
            parser.print_help(sys.stderr)
            return BAD_INPUT
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except SystemExit as end:  # from argparse: help was asked for, or the usage is wrong
        return int(end.code or 0)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain once more when it flushes at the end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        return _fail(f"{what}{error.strerror or error}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "samblocks":
            raise
        return _fail(f"{error.name} is not installed, which samblocks needs: pip install samblocks brings it")
    except MemoryError:
        return _fail("out of memory")
    except (SamblocksError, ValueError, TypeError) as error:
        return _fail(str(error))


def _parser() -> Parser:
    parser = Parser(
        prog="samblocks",
        description="The Segment Anything building blocks: public checkpoints, found, explained and converted.",
    )
    parser.add_argument("--version", action="version", version=f"samblocks {samblocks.__version__}")
    parser.set_defaults(command=None)
    known = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for found in pkgutil.iter_modules(commands.__path__):
        module = import_module(f"{commands.__name__}.{found.name}")
        one = known.add_parser(
            found.name.replace("_", "-"),
            help=module.HELP,
            description=f"{module.HELP[:1].upper()}{module.HELP[1:]}.",
        )
        module.add(one)
        one.set_defaults(run=module.run)
    return parser


def _fail(message: str, status: int = BAD_INPUT) -> int:
    print(f"samblocks: {' '.join(message.split())}", file=sys.stderr)
    return status
