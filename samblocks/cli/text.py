"""Tables on standard output: with rich on a terminal where it is installed, else in plain columns."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from samblocks.errors import LONGEST, printable

ENVELOPE = "the table of tensors that is meant, where the file holds several, such as net_ema or trainer.ema"
"""Help of the option of this name."""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table.

    Args:
        headers: the names of the columns.
        rows: one text per column each.
        right: the names of the columns to align to the right.
    """
    body = [tuple(printable(text, LONGEST) for text in row) for row in rows]
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
        except ImportError:
            pass
        else:
            drawn = Table(box=None, pad_edge=False)
            for name in headers:
                drawn.add_column(name, justify="right" if name in right else "left", overflow="fold")
            for row in body:
                drawn.add_row(*(text.replace("[", "\\[") for text in row))
            Console().print(drawn)
            return
    widths = [max(len(row[column]) for row in [tuple(headers), *body]) for column in range(len(headers))]
    for row in [tuple(headers), *body]:
        cells = [
            text.rjust(width) if name in right else text.ljust(width)
            for name, text, width in zip(headers, row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


def megabytes(size: int | None) -> str:
    """A length in bytes as people read it, `-` if it is not known."""
    return "-" if size is None else f"{size / 1e6:.1f}"
