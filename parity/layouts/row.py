"""One thing shown, the table of all of them, and the exit status that follows."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from parity.verdict.compare import Verdict
from samblocks.files import write_text

SCHEMA = 1
_HEADS = ("variant", "from", "to", "tensors", "bytes", "published", "verdict", "seen")
_RIGHT = frozenset({"tensors", "bytes", "published"})


@dataclass(frozen=True)
class Row:
    """One crossing in one direction.

    Attributes:
        variant: the variant.
        source: layout and, where there are several, class of the file that was read.
        target: of what was made from it.
        tensors: how many the file between the two holds.
        nbytes: its size.
        published: the size of the published file of this kind, where one is known.
        verdict: EXACT, WITHIN, DIVERGED or NOT RUN.
        seen: what was compared, or what is wrong.
    """

    variant: str
    source: str
    target: str
    tensors: int
    nbytes: int
    published: int | None
    verdict: Verdict
    seen: str


def text(rows: Sequence[Row]) -> Iterator[str]:
    """The table, line by line, and a line of totals."""
    cells = [
        (
            row.variant,
            row.source,
            row.target,
            str(row.tensors or "-"),
            f"{row.nbytes:,}" if row.nbytes else "-",
            "-" if row.published is None else f"{row.published:,}",
            row.verdict.value,
            row.seen,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [_HEADS, *cells]) for column in range(len(_HEADS))]
    for line in [_HEADS, *cells]:
        aligned = (
            cell.rjust(width) if head in _RIGHT else cell.ljust(width)
            for head, cell, width in zip(_HEADS, line, widths, strict=True)
        )
        yield "  ".join(aligned).rstrip()
    counts = Counter(row.verdict.value for row in rows)
    known = [row for row in rows if row.published is not None]
    equal = sum(row.published == row.nbytes for row in known)
    yield (
        f"{len(rows)} crossings: {', '.join(f'{count} {word}' for word, count in counts.items())}; "
        f"{equal} of {len(known)} files whose published size is known have it to the byte"
    )


def status(rows: Iterable[Row]) -> int:
    """0 if all held, 1 if anything diverged, 3 if nothing ran."""
    verdicts = {row.verdict for row in rows}
    if any(verdict.failed for verdict in verdicts):
        return 1
    return 0 if verdicts - {Verdict.NOT_RUN} else 3


def write_json(rows: Iterable[Row], path: Path, environment: Mapping[str, object]) -> None:
    """Write the table for machines, whole or not at all."""
    crossings = [{**asdict(row), "verdict": row.verdict.value} for row in rows]
    content = {"schema": SCHEMA, "environment": environment, "crossings": crossings}
    write_text(path, json.dumps(content, indent=1) + "\n")
