"""A progress bar on standard error, with rich where it is installed and in plain text where not."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from samblocks.errors import printable, sentence

STEP = 0.1  # seconds between two drawings
WIDTH = 30  # characters of the plain bar


def is_wanted(progress: bool | None) -> bool:
    """Whether to show progress: as asked for, and if that is None, where standard error is a terminal."""
    return sys.stderr.isatty() if progress is None else progress


def log(text: str, show: bool) -> None:
    """Print a line to standard error, if progress is shown at all."""
    if show:
        print(sentence(text), file=sys.stderr, flush=True)


@contextmanager
def bar(label: str, total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """Show how many of `total` bytes are done.

    Args:
        label: what is being done to what.
        total: all bytes.
        show: whether to show anything.

    Yields:
        A function that takes the number of bytes done so far.
    """
    if not show:
        yield lambda done: None
        return
    label = printable(label)
    try:
        import rich.progress as rich
        from rich.console import Console
    except ImportError:
        yield from _plain(label, total)
        return
    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.DownloadColumn(),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(label, total=total)
        yield lambda done: shown.update(task, completed=done)


def _plain(label: str, total: int) -> Iterator[Callable[[int], None]]:
    began = time.monotonic()
    first: int | None = None
    drawn = 0.0

    def draw(done: int) -> None:
        nonlocal first, drawn
        now = time.monotonic()
        if first is None:
            first = done  # bytes from an earlier run say nothing about the speed of this one
        if now - drawn < STEP and done < total:
            return
        drawn = now
        share = done / total
        filled = "#" * round(share * WIDTH)
        speed = (done - first) / 1e6 / max(now - began, 1e-3)
        text = f"\r{label} [{filled:<{WIDTH}}] {share:4.0%} of {total / 1e6:.1f} MB, {speed:.1f} MB/s "
        sys.stderr.write(text)
        sys.stderr.flush()

    try:
        yield draw
    finally:
        sys.stderr.write("\n")
        sys.stderr.flush()
