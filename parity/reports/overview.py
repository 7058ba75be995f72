"""What a person reads of a run: what failed, what is known to differ, one line a block, and one that says it all."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from parity.reports import summary
from parity.reports.line import NOTHING, Line, block_of, largest, one_line, ratio, small
from parity.run.judging import Row
from parity.verdict import outlier
from parity.verdict.compare import Verdict
from parity.verdict.outlier import Outlier

_NAMED = 3
"""How many cases are named where many share one cause."""


class Text(NamedTuple):
    """One line: a word that may be coloured, by its verdict, and the rest."""

    head: str = ""
    rest: str = ""
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Ran:
    """What a run was, beside its rows.

    Attributes:
        cases: how many there were.
        seconds: how long it took.
        missing: why references that were to run did not, by name.
        outliers: where one of several libraries stands apart from the others.
        status: the run's exit status.
        matmul: where matrix products are less exact here than in references' processes, how many times, by name.
    """

    cases: int
    seconds: float
    missing: Mapping[str, str]
    outliers: Sequence[Outlier]
    status: int
    matmul: Mapping[str, float] = field(default_factory=dict)


def lines(
    rows: Sequence[Row], ran: Ran, *, failures_only: bool = False, every_row: bool = False
) -> Iterator[Text]:
    """The report, line by line.

    Args:
        rows: what the run yielded.
        ran: what else it was.
        failures_only: leave out what holds.
        every_row: also the table of all cases and references, and how R is distributed.
    """
    found = summary.summarize(rows)
    if every_row:
        yield from _table(rows, found)
    yield from failures(rows)
    for name, times in ran.matmul.items():
        what = f"matrix products are {times:.2g} times less exact here than in {name}'s process"
        yield Text("", f"{what}: so many times counts its error in float32")
    if not failures_only:
        yield from _known([line for line in found if line.verdict is Verdict.KNOWN])
        yield from _outliers(ran.outliers, every_row)
        yield from _blocks(rows, found)
    for name, why in ran.missing.items():
        yield Text(f"{Verdict.NOT_RUN}", f" {name}: {one_line(why)}", Verdict.NOT_RUN)
    yield _last(rows, found, ran)


def _table(rows: Sequence[Row], found: Sequence[Line]) -> Iterator[Text]:
    width = max((len(line.id) for line in found), default=4)
    yield Text(
        "", f"{'verdict':14} {'case':{width}} {'reference':12} {_figures('R', 'float64', 'max |Δ|')}".rstrip()
    )
    for line in found:
        figures = _figures(ratio(line.ratio), small(line.double), small(line.max_abs))
        rest = f"{line.id:{width}} {line.reference:12} {figures}  {line.remark}"
        yield Text(f"{line.verdict:14}", f" {rest.rstrip()}", line.verdict)
        if effect := summary.effect(rows, line):
            yield Text("", f"{'':14} {effect}")
    yield Text()
    for text in summary.distribution(rows):
        yield Text("", text)
    yield Text()


def failures(rows: Sequence[Row]) -> Iterator[Text]:
    """What did not hold: each on its own, but for those that have nothing to tell but a cause that many share."""
    failed = [line for line in summary.summarize(rows) if line.verdict.failed]
    alike = Counter((line.reference, line.cause) for line in failed if _bare(line))
    named: set[tuple[str, str]] = set()
    for line in failed:
        many = alike[line.reference, line.cause]
        if not _bare(line) or many <= _NAMED:
            yield Text(f"{line.verdict}", f" {line.sentence}", line.verdict)
            if effect := summary.effect(rows, line):
                yield Text("", f"    {effect}")
        elif (line.reference, line.cause) not in named:
            named.add((line.reference, line.cause))
            ids = [other.id for other in failed if _bare(other) and _cause(other) == _cause(line)]
            where = f"{many} cases against {line.reference}, {_some(ids)}"
            yield Text(f"{line.verdict}", f" {where}: {one_line(line.cause)}", line.verdict)
    if failed:
        yield Text()


def _known(known: Sequence[Line]) -> Iterator[Text]:
    causes: dict[tuple[str, str], list[Line]] = {}
    for line in known:
        causes.setdefault(_cause(line), []).append(line)
    if known:
        yield Text("", "known to differ, and seen to differ still, by no more than the cause explains:")
    for (reference, cause), those in causes.items():
        where = "1 case" if len(those) == 1 else f"{len(those)} cases"
        blocks = ", ".join(dict.fromkeys(line.block for line in those))
        what = f"{reference}, {where} of {blocks}: {one_line(cause)}; {largest(those)}".removesuffix("; ")
        yield Text(f"{Verdict.KNOWN}", f" {what}", Verdict.KNOWN)
    if known:
        yield Text()


def _outliers(outliers: Sequence[Outlier], every: bool) -> Iterator[Text]:
    """Who stands apart from the others; each case of it only where that is us, or where all is wanted."""
    total, *each = outlier.lines(outliers) or [""]
    if total:
        yield Text("", total)
        for found, text in zip(outliers, each, strict=True):
            if every or found.library == "samblocks":
                yield Text("", text)
        yield Text()


def _blocks(rows: Sequence[Row], found: Sequence[Line]) -> Iterator[Text]:
    blocks: dict[str, list[Line]] = {}
    for row in rows:  # in the order of the run, while the lines are sorted by what they found
        blocks.setdefault(block_of(row.id), [])
    for line in found:
        blocks[line.block].append(line)
    width = max(map(len, (*blocks, "block")))
    names = list(dict.fromkeys(row.reference for row in rows))
    if blocks:
        yield Text(
            "",
            f"{'verdict':14} {'block':{width}} cases {'worst R':>8} {'float64':>8}  references (=: every bit)",
        )
    for block, those in blocks.items():
        # What is known to differ says nothing about how well the rest agrees.
        judged = [line for line in those if line.verdict is not Verdict.KNOWN]
        compared = [line for line in judged if line.verdict not in NOTHING]
        verdict = (compared or those)[0].verdict
        ran = {line.reference for line in those if line.verdict not in NOTHING}
        figures = f"{_worst(compared, 'ratio'):>8} {_worst(compared, 'double'):>8}"
        count = len({line.id for line in those})
        references = ", ".join(name for name in names if name in ran) or "none"
        yield Text(f"{verdict:14}", f" {block:{width}} {count:5} {figures}  {references}", verdict)
    if blocks:
        yield Text()


def _last(rows: Sequence[Row], found: Sequence[Line], ran: Ran) -> Text:
    counts = summary.counts(rows)
    tally = ", ".join(f"{number} {verdict}" for verdict, number in counts.items()) or "nothing to compare"
    judged = [line for line in found if line.verdict is not Verdict.KNOWN]
    worst = max(
        (line for line in judged if line.ratio is not None), key=lambda line: line.ratio or 0.0, default=None
    )
    most = f"; worst R {ratio(worst.ratio)} ({worst.id} against {worst.reference})" if worst else ""
    double = _worst(judged, "double")
    figures = most + (f"; float64 within {double}" if double not in ("", "=") else "")
    references = [name for name in dict.fromkeys(row.reference for row in rows) if name not in ran.missing]
    against = f" against {', '.join(references)}" if references else ""
    cases = "1 case" if ran.cases == 1 else f"{ran.cases} cases"
    head, verdict = {0: ("PASSED", Verdict.EXACT), 1: ("FAILED", Verdict.DIVERGED)}.get(
        ran.status, ("INCOMPLETE", Verdict.INCOMPARABLE)
    )
    if not references or not any(verdict not in NOTHING for verdict in counts):
        head = "NOTHING RAN"
    return Text(head, f": {cases}{against} in {ran.seconds:.0f} s: {tally}{figures}", verdict)


def _cause(line: Line) -> tuple[str, str]:
    return line.reference, line.cause


def _bare(line: Line) -> bool:
    """Whether there is nothing but a cause."""
    return line.ratio is None and line.double is None and line.max_abs is None


def _some(ids: Sequence[str]) -> str:
    more = len(ids) - _NAMED
    return ", ".join(ids[:_NAMED]) + (f" and {more} more (--verbose names them)" if more > 0 else "")


def _worst(those: Sequence[Line], name: str) -> str:
    """The largest figure; `=` where every bit is equal, nothing where nothing was compared."""
    figures = [figure for line in those if (figure := getattr(line, name)) is not None]
    if figures and max(figures) > 0:
        return ratio(max(figures)) if name == "ratio" else small(max(figures))
    return "=" if any(line.verdict is Verdict.EXACT for line in those) else ""


def _figures(*cells: str) -> str:
    return " ".join(f"{cell:>8}" for cell in cells)
