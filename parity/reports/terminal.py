"""The table and the progress on a terminal: with rich where it is installed, in plain text otherwise and in files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TextIO

from parity.reports import summary
from parity.reports.charts import figure, small
from parity.run.judging import Row
from parity.run.runner import Job
from parity.verdict.compare import Verdict

Advance = Callable[[Job, Sequence[Row]], None]

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


def show(rows: Sequence[Row], stream: TextIO, *, everything: bool = True) -> None:
    """Print the table, the distribution and the counts.

    Args:
        rows: what the run yielded.
        stream: where to.
        everything: also the lines that hold without remark.
    """
    if not _rich(stream):
        for plain in summary.text(rows, everything=everything):
            print(plain, file=stream)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("verdict", "case", "reference"):
        table.add_column(name, no_wrap=name == "verdict", overflow="fold")
    for name in ("R (fp32)", "rel (fp64)", "max |Δ|"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("remark", overflow="fold", ratio=1)
    # Names and causes may hold square brackets: as Text nothing in them is taken for markup.
    for line in summary.summarize(rows):
        if everything or line.verdict.failed:
            remark = " — ".join(part for part in (line.output, line.cause) if part)
            cells = (
                line.id,
                line.reference,
                figure(line.ratio),
                small(line.double),
                small(line.max_abs),
                remark,
            )
            table.add_row(Text(line.verdict, style=_STYLES[line.verdict]), *map(Text, cells))
    if table.row_count:
        console.print(table)
        console.print()
    for text in summary.distribution(rows):
        console.print(Text(text))
    counts = summary.counts(rows)
    parts = [Text(f"{number} {verdict}", style=_STYLES[verdict]) for verdict, number in counts.items()]
    console.print(Text(", ").join(parts) if parts else Text("nothing ran"))


@contextmanager
def progress(total: int, stream: TextIO) -> Iterator[Advance]:
    """A counter on a terminal's last line; silent where there is no terminal.

    Args:
        total: how many jobs there are.
        stream: where to.

    Yields:
        What is to be called after each job.
    """
    if not stream.isatty():
        yield lambda job, rows: None
        return
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
            failed += any(row.comparison.verdict.failed for row in rows)
            bar.update(task, advance=1, failed=failed, case=job.case.id)

        yield advance


@contextmanager
def _plain(total: int, stream: TextIO) -> Iterator[Advance]:
    done, failed = 0, 0

    def advance(job: Job, rows: Sequence[Row]) -> None:
        nonlocal done, failed
        done += 1
        failed += any(row.comparison.verdict.failed for row in rows)
        line = f"{done}/{total}  {failed} failed  {job.case.id}"
        stream.write(f"\r\x1b[K{line[: summary.terminal_width() - 1]}")
        stream.flush()

    try:
        yield advance
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


def _rich(stream: TextIO) -> bool:
    return stream.isatty() and find_spec("rich") is not None
