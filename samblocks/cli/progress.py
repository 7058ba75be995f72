"""How far a long command is, and how long it will still take: on standard error, for people and for log files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STEP_OF_LOGS = 10.0  # seconds between two lines where standard error is no terminal


class Progress:
    """Counts what is done.

    Args:
        unit: what is counted, such as "frames".
        total: how many there are.
    """

    def __init__(self, unit: str, total: int) -> None:
        self.unit, self.total, self.done = unit, total, 0
        self._began = self._said = time.monotonic()
        self._drawn = False

    def advance(self) -> None:
        """One more is done."""
        self.reach(self.done + 1, self.total)

    def reach(self, done: int, total: int) -> None:
        """So many are done, of so many."""
        self.done, self.total = done, total
        now = time.monotonic()
        left = (now - self._began) / max(self.done, 1) * (self.total - self.done)
        text = f"{self.done} of {self.total} {self.unit}, {_time(left)} left"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{text:<60}")
            sys.stderr.flush()
            self._drawn = True
        elif now - self._said >= _STEP_OF_LOGS:
            self._said = now
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line that was drawn on."""
        if self._drawn:
            sys.stderr.write("\n")
            sys.stderr.flush()


@contextmanager
def progress(unit: str, total: int) -> Iterator[Progress]:
    """Count in a with block; see `Progress`."""
    counted = Progress(unit, total)
    try:
        yield counted
    finally:
        counted.end()


def _time(seconds: float) -> str:
    """A duration for people.

    >>> _time(4.2), _time(75), _time(7300)
    ('5 s', '2 min', '2 h 2 min')
    """
    whole = -int(-seconds // 1)
    if whole < 60:
        return f"{whole} s"
    minutes = -(-whole // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
