"""A bench as charts: ratios, memory, and how cost grows."""

from collections.abc import Callable, Iterator, Sequence

from parity.bench.contestants import CONTESTANTS, Contestant
from parity.bench.report import Entry, Report
from parity.reports.bench import svg, tables, words


def ratios(report: Report, threads: int, *, peers_only: bool = False) -> str:
    """Each peer's time by ours; nothing where there is none. Without our code in runtimes, if so asked."""

    def value(entry: Entry) -> float | None:
        if entry.contestant.yardstick or (peers_only and entry.contestant.library == "samblocks"):
            return None
        return entry.ratio.median if entry.ratio is not None else None

    return _bars(
        report, threads, "Time of peers by that of our eager code: right of 1 ours is faster", value, "×"
    )


def memory(report: Report, threads: int) -> str:
    """Each process's highest memory in GB."""
    return _bars(report, threads, "Memory of the whole process", lambda entry: entry.process / 1e9, " GB")


def growth(report: Report) -> Iterator[str]:
    """A chart for each family and axis."""
    for (family, axis, threads), families in tables.curves(report).items():
        drawn = [
            svg.Line(
                words.label(one),
                [
                    (float(place), entry.processor.median)
                    for place, entry in curve
                    if entry.processor is not None
                ],
                CONTESTANTS.index(one),
            )
            for one, curve in families.items()
        ]
        title = f"{family} by {axis}, {threads} thread{'s' * (threads > 1)}"
        yield svg.lines(title, axis, "seconds of the processor", drawn)


def _bars(report: Report, threads: int, title: str, value: Callable[[Entry], float | None], unit: str) -> str:
    groups: dict[str, list[svg.Bar]] = {}
    seen: dict[Contestant, None] = {}
    for entry in report.entries:
        found = value(entry) if entry.ran and entry.threads == threads and entry.group != "growth" else None
        if found:
            name = words.label(entry.contestant)
            bar = svg.Bar(
                f"{entry.title}: {name}: {found:.2f}{unit}", found, CONTESTANTS.index(entry.contestant)
            )
            groups.setdefault(entry.title, []).append(bar)
            seen[entry.contestant] = None
    return svg.bars(title, list(groups.items()), _legend(list(seen)), unit) if groups else ""


def _legend(seen: Sequence[Contestant]) -> list[tuple[str, int]]:
    return [(words.label(one), CONTESTANTS.index(one)) for one in CONTESTANTS if one in seen]
