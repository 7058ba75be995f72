"""The report and the progress on a terminal: with rich where it is installed, in plain lines otherwise and in files."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TextIO

from parity.reports.overview import Text
from parity.run.job import Job
from parity.run.judging import Row
from parity.verdict.compare import Verdict

Advance = Callable[[Job, Sequence[Row]], None]

EVERY = 30.0
"""Seconds between two lines of progress where nothing can be drawn over."""

_STYLES = {
    Verdict.DIVERGED: "bold red",
    Verdict.INCOMPARABLE: "bold yellow",
    Verdict.NOT_RUN: "dim",
    Verdict.KNOWN: "magenta",
    Verdict.WITHIN: "cyan",
    Verdict.NOISE: "cyan",
    Verdict.EXACT: "green",
    Verdict.NO_COUNTERPART: "dim",
}


def show(lines: Iterable[Text], stream: TextIO) -> None:
    """Print a report, with colours where the stream is a terminal."""
    if not _rich(stream):
        for head, rest, _ in lines:
            print(f"{head}{rest}".rstrip(), file=stream)
        return
    from rich import text
    from rich.console import Console

    console = Console(file=stream, highlight=False, soft_wrap=True)
    for head, rest, verdict in lines:
        # Names and causes may hold square brackets: as Text nothing in them is taken for markup.
        console.print(text.Text.assemble((head, _STYLES[verdict] if verdict else ""), rest))


@contextmanager
def progress(total: int, stream: TextIO) -> Iterator[Advance]:
    """How far a run is: a bar on a terminal; elsewhere a line for what fails, and one every now and then.

    Args:
        total: how many jobs there are.
        stream: where to.

    Yields:
        What is to be called after each job.
    """
    with (_with_rich if _rich(stream) else _plain)(total, stream) as advance:
        yield advance


@contextmanager
def _with_rich(total: int, stream: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]} failed  {task.fields[case]}", markup=False),
    )
    failed = 0
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("", total=total, failed=0, case="")

        def advance(job: Job, rows: Sequence[Row]) -> None:
            nonlocal failed
            failed += bool(_failing(rows))
            bar.update(task, advance=1, failed=failed, case=job.case.id)

        yield advance


@contextmanager
def _plain(total: int, stream: TextIO) -> Iterator[Advance]:
    done, failed = 0, 0
    started = printed = time.monotonic()

    def advance(job: Job, rows: Sequence[Row]) -> None:
        nonlocal done, failed, printed
        done += 1
        against = _failing(rows)
        failed += bool(against)
        now = time.monotonic()
        if against:
            print(f"failed: {job.case.id} against {', '.join(against)}", file=stream, flush=True)
        if now - printed >= EVERY:
            printed = now
            print(
                f"{done}/{total} cases in {now - started:.0f} s, {failed} failed, last {job.case.id}",
                file=stream,
                flush=True,
            )

    yield advance


def _failing(rows: Sequence[Row]) -> list[str]:
    """The references against which something in these rows does not hold."""
    return list(dict.fromkeys(row.reference for row in rows if row.comparison.verdict.failed))


def _rich(stream: TextIO) -> bool:
    return stream.isatty() and find_spec("rich") is not None
