"""A line of a report, described once: what it is about, its verdict, its figures, where it stands, and in a sentence.

Every format says the same of a line, in its own syntax.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.run.judging import Row
from parity.verdict.compare import Verdict
from parity.where.where import Place, location

MEANINGS = {
    Verdict.DIVERGED: "Not equal: the error is larger than honest rounding explains.",
    Verdict.INCOMPARABLE: "Another shape, type or set of outputs, or one side raised an error.",
    Verdict.NOT_RUN: "The reference is not installed, or did not answer; nothing was compared.",
    Verdict.KNOWN: "The references differ from each other here, for a recorded cause, and by no more than it explains; "
    "checked to be still so.",
    Verdict.WITHIN: "Equal up to rounding: the error is within the bound.",
    Verdict.NOISE: "Equal up to rounding, where the reference's own error is below one rounding step.",
    Verdict.EXACT: "Equal bit for bit.",
    Verdict.NO_COUNTERPART: "The reference has no such block or argument; there is nothing to compare with.",
}
"""What each verdict means, in one sentence; worst first, the order of every report."""

NOTHING = (Verdict.NO_COUNTERPART, Verdict.NOT_RUN)
"""Verdicts by which nothing was compared."""


@dataclass(frozen=True)
class Line:
    """All outputs of one case against one reference: the worst verdict, and the largest figures.

    Attributes:
        id: of the case; in a pytest session, of the test.
        reference: which one.
        verdict: the worst.
        ratio: the largest R.
        double: the largest relative difference in float64.
        max_abs: the largest absolute difference.
        output: which output failed, with its precision; empty where none did.
        cause: of the worst verdict.
    """

    id: str
    reference: str
    verdict: Verdict
    ratio: float | None
    double: float | None
    max_abs: float | None
    output: str
    cause: str

    @property
    def block(self) -> str:
        """What the line is about; see `block_of`."""
        return block_of(self.id)

    @property
    def name(self) -> str:
        """The rest of the id; the block, where there is no rest."""
        return self.id.removeprefix(self.block).lstrip(":/") or self.block

    @property
    def figures(self) -> Mapping[str, float]:
        """The figures that there are, by the names that machines read."""
        every = {"R": self.ratio, "relative_difference_float64": self.double, "max_abs": self.max_abs}
        return {name: value for name, value in every.items() if value is not None}

    @property
    def figures_shown(self) -> str:
        """The same for people."""
        return largest([self])

    @property
    def remark(self) -> str:
        """Which output, and the cause, on one line."""
        return ": ".join(part for part in (self.output, one_line(self.cause)) if part not in ("", "-"))

    @property
    def sentence(self) -> str:
        """What the line is about, its figures and its cause."""
        what = "; ".join(part for part in (self.figures_shown, self.remark) if part)
        return f"{self.id} against {self.reference}" + (f": {what}" if what else "")

    @property
    def message(self) -> str:
        """The same with the verdict before it, for formats that show nothing else."""
        return f"{self.verdict}: {self.sentence}"

    def place(self, root: Path | None = None) -> Place | None:
        """Where the case is written down, from `root` (the current folder by default); None for unknown ones."""
        return location(self.id, root)


def block_of(identifier: str) -> str:
    """What a case is about: the block of `Block/case`, the file of a test's id."""
    return identifier.partition("::" if "::" in identifier else "/")[0]


def largest(lines: Sequence[Line]) -> str:
    """The largest figures of some lines, for people."""
    every = (
        ("R", ratio(_largest(line.ratio for line in lines))),
        ("float64", small(_largest(line.double for line in lines))),
        ("max |Δ|", small(_largest(line.max_abs for line in lines))),
    )
    return ", ".join(f"{name} {figure}" for name, figure in every if figure)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def output_sentence(row: Row) -> str:
    """One output of a line in a sentence."""
    found = row.comparison
    figures = {} if found.ratio is None else {"R": ratio(found.ratio)}
    if row.dtype == "float64" and figures:
        figures = {"relative difference": small(found.ratio)}
    if found.max_abs:
        figures["max |Δ|"] = f"{small(found.max_abs)} at {list(found.index or ())}"
    shown = "".join(f", {name} {figure}" for name, figure in figures.items())
    cause = f": {one_line(found.cause)}" if found.cause else ""
    return f"{row.output} ({row.dtype}): {found.verdict}{shown}{cause}"


def ratio(value: float | None) -> str:
    """R, with the digits that count; empty where there is none."""
    return "" if value is None else f"{value:.2f}" if value < 1000 else f"{value:.1e}"


def small(value: float | None) -> str:
    """A small difference in powers of ten; empty where there is none."""
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"


def one_line(text: str) -> str:
    """What others say may hold line breaks and codes that move a terminal's cursor; a report has one plain line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))
