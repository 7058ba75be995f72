"""The README's table and picture of a bench, put between two marks by the command that measured it."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from parity.bench.contestants import CONTESTANTS, OURS, Contestant
from parity.bench.report import Entry, Report
from parity.errors import UsageError
from parity.reports.bench import charts, tables, words
from samblocks.files import write_text

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
PICTURE = Path("docs", "bench.svg")
"""Where the picture lies, from the README's folder."""

_LONGEST = 90
"""Letters that a reason may have."""


def check(file: Path) -> None:
    """Complain before the run about what would fail after it.

    Raises:
        UsageError: the file is not there or has no marks.
    """
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(f"{file} must hold {BEGIN} once and, below it, {END}: the table goes between them")


def write(report: Report, file: Path) -> None:
    """Replace what stands between the marks, and the picture."""
    check(file)
    before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    picture = charts.ratios(report, report.environment["threads"][0], peers_only=True)
    if picture:
        write_text(file.parent / PICTURE, picture + "\n", make_folder=True)
    body = "\n".join(lines(report, picture=bool(picture)))
    write_text(file, f"{before}{BEGIN}\n{body}\n{END}{after}")


def lines(report: Report, *, picture: bool) -> Iterator[str]:
    """What goes between the marks."""
    yield f"{words.header(report)}. {words.MANNER}"
    yield (
        "**Bold**: a peer leads. In brackets what the whole process takes at most. A dash: NOT RUN, for a reason "
        "below, or not measured in this run."
    )
    if picture:
        yield ""
        yield f"![Time of peers by that of our eager code, row by row]({PICTURE.as_posix()})"
    for threads in report.environment["threads"]:
        yield ""
        yield from _table(report, threads)
    for found in (tables.importing(report), tables.loading(report)):
        some = list(found)
        if some:
            yield ""
            yield from some
    reasons = list(_reasons(report))
    if reasons:
        yield ""
        yield f"NOT RUN: {'; '.join(reasons)}."


def _table(report: Report, threads: int) -> Iterator[str]:
    """Rows down, contestants across."""
    entries = [entry for entry in report.entries if entry.threads == threads and entry.group != "growth"]
    across = [one for one in CONTESTANTS if any(entry.contestant == one for entry in entries)]
    own, others = [one for one in across if one.yardstick], [one for one in across if not one.yardstick]
    yield f"| {threads} thread{'s' * (threads > 1)} | {' | '.join(map(_title, [*own, *others]))} |"
    yield "|---" * (1 + len(across)) + "|"
    found = {(entry.title, entry.contestant): entry for entry in entries}
    for title in dict.fromkeys(entry.title for entry in entries):
        cells = [_cell(found.get((title, one))) for one in [*own, *others]]
        yield f"| {title} | {' | '.join(cells)} |"


def _title(one: Contestant) -> str:
    inside = one.library == OURS and not one.yardstick
    return f"samblocks in {words.column(one)}" if inside else words.column(one)


def _cell(entry: Entry | None) -> str:
    if entry is None or not entry.ran or entry.processor is None:
        return "–"
    memory = words.size(entry.process)
    if entry.contestant.yardstick:
        return f"{words.seconds(entry.processor.median)} ({memory})"
    if entry.ratio is None:
        return "–"
    shown = f"{entry.ratio.median:.2f}"
    return f"**{shown}** ({memory})" if entry.leads else f"{shown} ({memory})"


def _reasons(report: Report) -> Iterator[str]:
    """Each reason once, in short, with whom and which rows it is about."""
    rows: dict[tuple[str, str], list[str]] = {}
    for entry in report.entries:
        if not entry.ran:
            rows.setdefault((_short(entry.reason), _title(entry.contestant)), []).append(entry.title)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (reason, who), titles in rows.items():
        alike.setdefault((reason, tuple(dict.fromkeys(titles))), []).append(who)
    for (reason, about), names in alike.items():
        yield f"{', '.join(dict.fromkeys(names))} on {' / '.join(about)}: {reason}"


def _short(reason: str) -> str:
    """The beginning of a reason: a runtime's may be pages, which the JSON and the page of the bench have."""
    return textwrap.shorten(reason.partition(": Check ")[0], _LONGEST, placeholder=" …")
