"""A bench as tables in Markdown: what the command prints."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from parity.bench.contestants import Contestant
from parity.bench.load import GOALS
from parity.bench.report import Entry, Report
from parity.bench.rows import ROWS
from parity.errors import UsageError
from parity.reports.bench import words

Curve = list[tuple[int, Entry]]
"""A family along one axis: places, and what was measured there."""


def header(report: Report) -> str:
    """One line on date, machine and manner."""
    return f"{words.header(report)}. {words.MANNER}"


def lines(report: Report) -> Iterator[str]:
    """The whole report."""
    yield header(report)
    yield from _behind_a_blank(loading(report))
    yield from _behind_a_blank(importing(report))
    done: dict[tuple[str, int], list[Entry]] = {}
    for entry in report.entries:
        done.setdefault((entry.row, entry.threads), []).append(entry)
    for entries in done.values():
        yield from _behind_a_blank(row(entries))
    yield from afterwards(report)


def row(entries: Sequence[Entry]) -> Iterator[str]:
    """All contestants on one row."""
    first = entries[0]
    yield (
        f"| {first.title}, {first.threads} thread{'s' * (first.threads > 1)} | processor | clock | ratio "
        "| of products | call | process | set-up | error |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for entry in entries:
        name = words.label(entry.contestant)
        if not entry.ran:
            yield f"| {name} | {words.not_run(entry)} | | | | | | | |"
            continue
        figure = "" if entry.contestant.yardstick else words.ratio(entry.ratio)
        converted = f" + {words.seconds(entry.convert)}" if entry.convert else ""
        yield (
            f"| {name} | {words.spread(entry.processor)} | {words.spread(entry.wall)} | {figure} "
            f"| {words.share(entry.rate)} | {words.size(entry.peak)} | {words.size(entry.process)} "
            f"| {words.seconds(entry.set_up)}{converted} | {words.error(entry.error)} |"
        )


def loading(report: Report) -> Iterator[str]:
    """About `sam_vit_h`; nothing where it was not loaded."""
    found = report.loading
    if not found:
        return
    yield f"| `sam_vit_h`, a file of {found['file_bytes'] / 1e9:.2f} GB | segment_anything | samblocks | ratio | goal |"
    yield "|---|---|---|---|---|"
    yield (
        f"| load, every page of every parameter read | {found['upstream']:.2f} s | {found['ours']:.2f} s "
        f"| {found['ratio']:.1f} times faster | {GOALS['speed']:.0f} |"
    )
    yield (
        f"| its peak memory, by the file's size | {found['upstream_peak']:.2f} "
        f"| {found['peak']:.2f} (not backed by the file: {found['private']:.3f}) | | {GOALS['memory']} |"
    )
    yield f"| `convert --to transformers` | - | {found['convert']:.1f} s | | |"
    yield f"| its peak memory, by the file's size | - | {found['convert_peak']:.2f} | | {GOALS['memory']} |"
    yield (
        f"| `inspect` | - | {found['inspect']:.2f} s ({found['inspect_processor']:.2f} s of processor time) | "
        f"| {GOALS['inspect']:.0f} s |"
    )


def importing(report: Report) -> Iterator[str]:
    """What importing packages takes; nothing where it was not asked for."""
    if not report.imports:
        return
    yield "| import, beyond torch and NumPy | processor | clock | memory |"
    yield "|---|---|---|---|"
    for name, found in report.imports.items():
        if "reason" in found:
            yield f"| {name} | NOT RUN: {found['reason']} | | |"
            continue
        times = [words.seconds(found[kind]) for kind in ("processor", "seconds")]
        yield f"| {name} | {times[0]} | {times[1]} | {words.size(found['memory'])} |"


def afterwards(report: Report) -> Iterator[str]:
    """What is known when all rows are there: how cost grows, where peers lead, what plain products reach."""
    yield from _behind_a_blank(growth(report))
    if report.products:
        rates = ", ".join(
            f"{rate / 1e9:.0f} GF/s in {precision} with {threads} thread(s)"
            for (threads, precision), rate in ((key.split(), rate) for key, rate in report.products.items())
        )
        yield f"\nPlain products, the better one of MKL and oneDNN, for a second of the processor: {rates}."
    leading = [entry for entry in report.entries if entry.ran and entry.leads]
    if leading:
        shown = "; ".join(
            f"{words.label(entry.contestant)}: {entry.title} ({entry.ratio.median:.2f})"
            for entry in leading
            if entry.ratio is not None
        )
        yield f"\nAhead of our eager code: {shown}."


def curves(report: Report) -> dict[tuple[str, str, int], dict[Contestant, Curve]]:
    """Families by name, axis and threads; of each contestant what was measured, from the smallest place on."""
    found: dict[tuple[str, str, int], dict[Contestant, Curve]] = {}
    for entry in report.entries:
        for family, axis, place in entry.curves:
            if entry.ran and entry.processor is not None:
                curve = found.setdefault((family, axis, entry.threads), {}).setdefault(entry.contestant, [])
                curve.append((place, entry))
    whole = {}
    for key, families in found.items():
        kept = {
            one: sorted(curve, key=lambda point: point[0])
            for one, curve in families.items()
            if len(curve) > 1
        }
        if kept:
            whole[key] = kept
    return whole


def growth(report: Report) -> Iterator[str]:
    """How cost grows: processor time at each place, and as a multiple of the smallest one's."""
    for (family, axis, threads), families in curves(report).items():
        places = sorted({place for curve in families.values() for place, _ in curve})
        yield ""
        yield f"| {family} by {axis}, {threads} thread{'s' * (threads > 1)} | {' | '.join(map(str, places))} |"
        yield "|---" * (1 + len(places)) + "|"
        for one, curve in families.items():
            at = dict(curve)
            least = _time(curve[0][1])
            cells = [
                f"{words.seconds(_time(at[place]))} (×{_time(at[place]) / least:.1f})" if place in at else ""
                for place in places
            ]
            yield f"| {words.label(one)} | {' | '.join(cells)} |"


def _time(entry: Entry) -> float:
    return max(entry.processor.median, 1e-9) if entry.processor is not None else 1e-9


def listing(entrants: Sequence[Contestant]) -> Iterator[str]:
    """The rows and the contestants that there are."""
    for one in ROWS:
        yield f"{one.group:<11} {one.name:<20} {one.shown(1024)}"
    yield ""
    for entrant in entrants:
        yield f"{entrant.peer:<14} {words.label(entrant)}"


def joined(reports: Sequence[Report]) -> Report:
    """Several benches of one machine as one: where two have measured the same, the later one counts.

    Raises:
        UsageError: they are of different machines, versions or sizes.
    """
    first = reports[0]
    for other in reports[1:]:
        for name in ("machine", "torch", "device", "size"):
            if other.environment[name] != first.environment[name]:
                raise UsageError(
                    f"benches of different kinds do not make one: {name} is {first.environment[name]!r} in the first "
                    f"and {other.environment[name]!r} in another"
                )
    entries = {
        (entry.row, entry.contestant, entry.threads): entry for report in reports for entry in report.entries
    }
    threads = sorted({count for report in reports for count in report.environment["threads"]})
    return replace(
        first,
        environment={**reports[-1].environment, "threads": threads},
        entries=list(entries.values()),
        products={key: rate for report in reports for key, rate in report.products.items()},
        loading=next((report.loading for report in reversed(reports) if report.loading), {}),
        imports=next((report.imports for report in reversed(reports) if report.imports), {}),
    )


def _behind_a_blank(found: Iterator[str]) -> Iterator[str]:
    some = list(found)
    if some:
        yield ""
        yield from some
