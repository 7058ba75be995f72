"""From the command line to a command, and from whatever happens there to an exit status.

A program is a package of commands. Every file of it is a command: it has `HELP`, one line; `add(parser)`, which
declares the arguments; and `run(arguments)`, which returns the exit status. To add a command is to add a file.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import pkgutil
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NoReturn

import samblocks
from samblocks.cli.interruption import unwinding
from samblocks.errors import sentence

BAD_INPUT: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells say it
PIPE_CLOSED: Final = 141  # 128 + SIGPIPE


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, and that takes `-5,3` for a value."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, and end."""
        self.exit(BAD_INPUT, f"{self.prog}: {sentence(message)} (see {self.prog} --help)\n")


def run_command(
    program: str,
    commands: ModuleType,
    argv: Sequence[str] | None,
    *,
    description: str | None,
    failures: Mapping[type[Exception], int],
) -> int:
    """Run a command of a program.

    Args:
        program: its name.
        commands: the package of its commands.
        argv: the arguments without the program's name; by default those of the process.
        description: of the program, for its help.
        failures: exceptions that a command may end with, and the exit status of each; what is said of one is its
            text. Any other is a mistake of ours and is raised.

    Returns:
        The exit status.
    """
    with unwinding():
        return _run(program, commands, argv, description, failures)


def _run(
    program: str,
    commands: ModuleType,
    argv: Sequence[str] | None,
    description: str | None,
    failures: Mapping[type[Exception], int],
) -> int:
    if not _has_streams():
        return _fail(program, "standard output is closed, so that nothing could be said")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a name that cannot be shown
    try:
        parser = parser_of(program, commands, description)
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if arguments.command is None:
            parser.print_help(sys.stderr)
            return BAD_INPUT
        status = int(arguments.run(arguments))
        sys.stdout.flush()
        return status
    except SystemExit as end:  # from argparse: help was asked for, or the usage is wrong
        return int(end.code or 0)
    except KeyboardInterrupt as interrupt:
        return _fail(program, "interrupted", getattr(interrupt, "status", INTERRUPTED))
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain once more when it flushes at the end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        return _fail(program, f"{what}{error.strerror or error}{_next_step(error)}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in (samblocks.__name__, commands.__name__.partition(".")[0]):
            raise
        return _fail(
            program,
            f"{error.name} is not installed, which samblocks needs: pip install samblocks installs it",
        )
    except MemoryError:
        return _fail(program, "out of memory")
    except tuple(failures) as error:
        return _fail(
            program, str(error), next(code for kind, code in failures.items() if isinstance(error, kind))
        )


def _has_streams() -> bool:
    """Whether standard output is open. What is closed leads nowhere then: else the next file took its number."""
    missing = sys.stdout is None
    if missing or sys.stderr is None:
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
        sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115  # as long as the process
    return not missing


def parser_of(program: str, commands: ModuleType, description: str | None = None) -> Parser:
    """The parser of a program: see `run_command`."""
    text = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog=program, description=description, formatter_class=text)
    parser.set_defaults(parser=parser)
    parser.add_argument("--version", action="version", version=f"samblocks {samblocks.__version__}")
    known = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for found in pkgutil.iter_modules(commands.__path__):
        module = import_module(f"{commands.__name__}.{found.name}")
        one = known.add_parser(
            found.name.replace("_", "-"), help=module.HELP, description=module.__doc__, formatter_class=text
        )
        module.add(one)
        one.set_defaults(run=module.run, parser=one)
    return parser


def _fail(program: str, message: str, status: int = BAD_INPUT) -> int:
    print(f"{program}: {sentence(' '.join(message.split()))}", file=sys.stderr)
    return status


def _next_step(error: OSError) -> str:
    """What to do about a path that is not what an option needs."""
    steps = {
        errno.ENOENT: "; check the path",
        errno.EISDIR: ", where a file is needed: name the file",
        errno.ENOTDIR: ": a file stands where a folder is needed",
        errno.EACCES: ": take another place, or ask for its permissions",
        errno.ENOSPC: ": make room, or take another place",
    }
    known = error.filename and error.strerror == os.strerror(error.errno or 0)
    return steps.get(error.errno or 0, "") if known else ""
