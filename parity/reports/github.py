"""What did not hold as GitHub annotations: lines that show up beside the code of the case."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from parity.reports import summary
from parity.run.judging import Row

MOST = 10
"""GitHub shows this many errors of a step; the rest is counted."""


def lines(rows: Sequence[Row], root: Path | None = None) -> Iterator[str]:
    """Workflow commands, worst first.

    Args:
        rows: what the run yielded.
        root: the folder that paths are given from; the current one by default.
    """
    failed = [line for line in summary.summarize(rows) if line.verdict.failed]
    for line in failed[:MOST]:
        place = line.place(root)
        at = f"file={_property(place.file)},line={place.line}," if place is not None else ""
        title = f"{line.id} against {line.reference}"
        yield f"::error {at}title={_property(title)}::{_data(line.message)}"
    if len(failed) > MOST:
        yield f"::error title=parity::{len(failed) - MOST} more comparisons did not hold; see the report"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
