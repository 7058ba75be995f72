"""What a failed check says: which one it is, what differs and by how much, and what to do next."""

import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from parity.testing.judge import Result
from samblocks.numerics.verdict import ANOTHER_FUNCTION, LESS_PRECISE, UNDECIDED


@dataclass(frozen=True)
class Place:
    """Where a check stands.

    Attributes:
        test: the test's name.
        file: of the line that asked for it.
        line: its number.
        number: of the check in its test, from 1.
    """

    test: str
    file: str
    line: int
    number: int

    def __str__(self) -> str:
        return f"check #{self.number}, {self.file}:{self.line}"


def place(test: str, number: int, root: Path, *, depth: int) -> Place:
    """The place of the code so many calls above."""
    frame = sys._getframe(depth + 1)
    file = Path(frame.f_code.co_filename)
    shown = file.relative_to(root) if file.is_relative_to(root) else file
    return Place(test, str(shown), frame.f_lineno, number)


def text(found: Result, at: Place, *, record: bool = False) -> str:
    """The text of a failure; its first line is what pytest's summary shows, and has the figure.

    Args:
        found: what the check found.
        at: where it stands.
        record: whether it was judged by a golden.
    """
    if any(f.comparison.verdict.failed for f in found.findings):
        worst = found.worst
        head = f"{worst.figure or worst.comparison.verdict} in {worst.output} ({at})"
        question = _question(worst.comparison.cause)
        head = f"{head}: {question}" if question else head
    elif found.unseen:
        head = f"not seen: {found.unseen[0]} ({at})"
    else:
        head = f"nothing was compared ({at})"
    return "\n".join([head, f"in {at.test}", *str(found).splitlines(), f"next: {_next(at, golden=record)}"])


def _question(cause: str) -> str:
    known = (word for word in (ANOTHER_FUNCTION, LESS_PRECISE, UNDECIDED) if cause.startswith(word))
    return next(known, cause)


def _next(at: Place, *, golden: bool) -> str:
    command = f"pytest {shlex.quote(at.test)} --parity-html=parity.html"
    advice = f"{command} shows where the difference sits"
    if not find_spec("matplotlib"):
        advice += " (it needs pip install 'samblocks[plots]')"
    if golden:
        advice += f"; if the reference has changed, pytest {shlex.quote(at.test)} --parity-record"
    return advice
