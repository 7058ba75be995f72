"""Run rows on contestants, each in a process of its own, in turns, so that other work slows all sides alike."""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor

from parity import package
from parity.bench.contestants import ENGINES, OURS, Contestant, library_module, python_of
from parity.bench.report import Entry, Figure
from parity.bench.rows import Row
from parity.errors import WorkerError
from parity.execution import devices
from parity.workers.one_request import ask
from parity.workers.process import TIMEOUT, Process

LEAST_MEMORY = 3e9
"""Bytes that must be free before a further contestant is started."""

WRONG = {"float32": 1e-3, "bfloat16": 0.3}
"""Errors, relative to float64, above which a result is not less exact but another one."""


@dataclass(frozen=True)
class Settings:
    """How a bench is run.

    Attributes:
        size: side of the images.
        rounds: calls of each side that are timed.
        threads: threads of each side; the sides never run at once.
        device: where models and inputs are.
        judge: whether errors against float64 are told.
        budget: seconds after which no further row is begun.
        references: the references' environment; None for the usual place.
        peers: the peers' environment; None for the usual place.
        timeout: seconds that each step of a process's start may take.
    """

    size: int = 1024
    rounds: int = 5
    threads: int = 1
    device: str = "cpu"
    judge: bool = True
    budget: float = float("inf")
    references: Path | None = None
    peers: Path | None = None
    timeout: float = TIMEOUT
    began: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Sample:
    """One call of one side."""

    wall: float
    processor: float
    peak: float


def packages(library: str) -> dict[str, Path]:
    """What a contestant's process can import beside parity: our code only where it is timed."""
    return {"samblocks": package.ROOT / "samblocks"} if library == OURS else {}


Rates = Mapping[str, Mapping[str, float]]
"""Operations a second of plain products, by precision and library."""


def run(
    rows: Sequence[Row], entrants: Sequence[Contestant], settings: Settings, rates: list[Rates] | None = None
) -> Iterator[list[Entry]]:
    """Yield each row's entries as they are there.

    What cannot run is an entry with a reason. A contestant that dies ends its own part of a row alone.

    Args:
        rows: what is run.
        entrants: by whom.
        settings: how.
        rates: gets the rates of plain products, round by round; see `best`.
    """
    rates = [] if rates is None else rates
    device = devices.missing(settings.device)
    if device:
        yield from ([_blank(row, one, settings, device) for one in entrants] for row in rows)
        return
    arguments = {"size": settings.size, "threads": settings.threads}
    with Process(
        "yardstick",
        Path(sys.executable),
        "parity.bench.yardstick:serve",
        arguments,
        packages=packages(OURS),
        timeout=settings.timeout,
    ) as yardstick:
        for row in rows:
            if time.monotonic() - settings.began > settings.budget:
                why = f"not begun: {settings.budget:g} s were spent on the rows before"
                yield [_blank(row, one, settings, why) for one in entrants]
                continue
            contest = Contest(row, settings, yardstick)
            yield contest.entries(entrants)
            rates += contest.products


def best(products: Sequence[Rates]) -> dict[str, float]:
    """For each precision the rate of the library that is fastest by its median over the rounds."""
    found: dict[str, list[float]] = {}
    for precision in products[0] if products else ():
        for name in products[0][precision]:
            found.setdefault(precision, []).append(median(rates[precision][name] for rates in products))
    return {precision: max(medians) for precision, medians in found.items()}


class Contest:
    """One row on all contestants.

    Attributes:
        products: rates of plain products, round by round.
    """

    def __init__(self, row: Row, settings: Settings, yardstick: Process) -> None:
        self._row, self._settings, self._yardstick = row, settings, yardstick
        self.products: list[Rates] = []
        self._entries: dict[Contestant, Entry] = {}
        self._samples: dict[Contestant, dict[int, Sample]] = {}
        self._results: dict[Contestant, Mapping[str, Tensor]] = {}
        self._converted: dict[tuple[str, str], tuple[str, float] | str] = {}

    def entries(self, entrants: Sequence[Contestant]) -> list[Entry]:
        """Measure; an entry for each contestant, in their order."""
        able = []
        for one in entrants:
            why = one.refuses(self._row, self._settings.device)
            python = python_of(one.environment, self._settings.references, self._settings.peers)
            if why or isinstance(python, str):
                self._entries[one] = _blank(self._row, one, self._settings, why or str(python))
            else:
                able.append(one)
        with tempfile.TemporaryDirectory(prefix="parity-bench-") as scratch:
            for group in _groups(able, self._row.heavy):
                self._contend(group, Path(scratch))
        operations = self._yardstick.ask({"count": self._row.name}, about=self._row.name)[0]["operations"]
        truth = self._truth() if self._results and self._settings.judge else {}
        return [self._finished(one, operations, truth) for one in entrants]

    def _contend(self, group: Sequence[Contestant], scratch: Path) -> None:
        """Set up a group, and let it take turns."""
        with ExitStack() as stack:
            sides = {one: side for one in group if (side := self._started(one, scratch, stack)) is not None}
            for _ in range(self._settings.rounds if sides else 0):
                number = len(self.products)
                self.products.append(self._yardstick.ask({}, about="plain products")[0]["rates"])
                for one, side in list(sides.items()):
                    try:
                        found = self._asked(side, {})
                    except WorkerError as error:
                        self._fail(one, str(error))
                        del sides[one]
                        continue
                    sample = Sample(found["seconds"], found["processor"], found["peak"])
                    self._samples.setdefault(one, {})[number] = sample
                    entry = self._entries[one]
                    self._entries[one] = replace(entry, process=max(entry.process, found["highest"]))

    def _started(self, one: Contestant, scratch: Path, stack: ExitStack) -> Process | None:
        """Its process, set up; None with an entry that says why where that fails."""
        reason = self._entries[one].reason if one in self._entries else ""
        if reason:
            return None
        try:
            if (free := _free()) < LEAST_MEMORY:
                raise WorkerError(
                    f"{free / 1e9:.1f} GB of memory are free, and {LEAST_MEMORY / 1e9:.0f} GB are asked for"
                )
            file, seconds = self._convert(one, scratch)
            side = stack.enter_context(self._process(one, file, scratch))
            figures, results = side.ask({"set up": True}, about=f"{self._row.name}, set up")
            if figures["status"] != "ok":
                raise WorkerError(figures["message"])
        except WorkerError as error:
            reason = str(error)
        if reason:
            self._fail(one, reason)
            return None
        before = self._entries[one].process if one in self._entries else 0.0
        self._entries[one] = replace(
            _blank(self._row, one, self._settings, ""),
            convert=seconds,
            set_up=figures["seconds"],
            process=max(before, figures["highest"]),
        )
        self._results[one] = results
        return side

    def _process(self, one: Contestant, file: str | None, scratch: Path) -> Process:
        settings = self._settings
        python = python_of(one.environment, settings.references, settings.peers)
        return Process(
            one.name,
            Path(python),
            "parity.bench.serve:serve",
            {
                "row": self._row.name,
                "size": settings.size,
                "threads": settings.threads,
                "module": library_module(one.library),
                "engine": ENGINES[one.engine].module,
                "precision": one.precision,
                "device": settings.device,
                "converted": file,
            },
            packages=packages(one.library),
            variables={
                "OMP_NUM_THREADS": str(settings.threads),
                "TORCHINDUCTOR_CACHE_DIR": str(scratch / f"inductor-{one.library}"),
            },
            timeout=settings.timeout,
        )

    def _convert(self, one: Contestant, scratch: Path) -> tuple[str | None, float]:
        """The file that the engine reads, and how long making it took; made once for all precisions."""
        if not ENGINES[one.engine].converts:
            return None, 0.0
        key = (one.library, one.engine)
        if key not in self._converted:
            folder = scratch / "-".join(key)
            folder.mkdir()
            request = {"task": "convert", "folder": str(folder), "engine": ENGINES[one.engine].module}
            try:
                found, _ = self._once(one, request)
                self._converted[key] = (found["file"], found["seconds"])
            except WorkerError as error:
                self._converted[key] = f"cannot be converted: {error}"
        made = self._converted[key]
        if isinstance(made, str):
            raise WorkerError(made)
        return made

    def _truth(self) -> Mapping[str, Tensor]:
        """Upstream's code in float64 throughout; ours, where no upstream can be asked."""
        for library in ("meta", "ultralytics", OURS):
            one = Contestant(library, library)
            if isinstance(python_of(one.environment, self._settings.references, self._settings.peers), str):
                continue
            try:
                return self._once(one, {"task": "truth"})[1]
            except WorkerError as error:
                print(f"{self._row.name}: no truth by {library}: {error}", file=sys.stderr)
        return {}

    def _once(
        self, one: Contestant, request: Mapping[str, str]
    ) -> tuple[Mapping[str, Any], Mapping[str, Tensor]]:
        settings = self._settings
        python = python_of(one.environment, settings.references, settings.peers)
        manner = {"row": self._row.name, "size": settings.size, "threads": settings.threads}
        return ask(
            one.name,
            Path(python),
            "parity.bench.serve",
            {**manner, "module": library_module(one.library), **request},
            packages=packages(one.library),
            timeout=settings.timeout,
        )

    def _asked(self, side: Process, request: Mapping[str, bool]) -> Mapping[str, float]:
        figures, _ = side.ask(request, about=self._row.name)
        if figures["status"] != "ok":
            raise WorkerError(figures["message"])
        return figures

    def _fail(self, one: Contestant, reason: str) -> None:
        self._samples.pop(one, None)
        self._results.pop(one, None)
        self._entries[one] = _blank(self._row, one, self._settings, reason)

    def _finished(self, one: Contestant, operations: int | None, truth: Mapping[str, Tensor]) -> Entry:
        """The entry with the figures that several rounds come to."""
        entry, samples = self._entries[one], self._samples.get(one, {})
        if not samples:
            return entry
        found = error(self._results.get(one, {}), truth)
        entry = replace(
            entry,
            wall=Figure.of([sample.wall for sample in samples.values()]),
            processor=Figure.of([sample.processor for sample in samples.values()]),
            peak=max(sample.peak for sample in samples.values()),
            error=found,
            ratio=self._ratio(one, samples),
            rate=self._rate(one, operations, samples),
        )
        if found is not None and not found <= WRONG[one.precision]:
            return replace(entry, reason=f"its result is another one: {found:.1e} from float64")
        return entry

    def _ratio(self, one: Contestant, samples: Mapping[int, Sample]) -> Figure | None:
        """Round by round against our eager code in the same precision."""
        ours = self._samples.get(Contestant(OURS, OURS, precision=one.precision), {})
        pairs = [(sample, ours[number]) for number, sample in samples.items() if number in ours]
        if not pairs:
            return None
        if self._settings.device != "cpu":
            return Figure.of([theirs.wall / own.wall for theirs, own in pairs])
        return Figure.of([theirs.processor / max(own.processor, 1e-9) for theirs, own in pairs])

    def _rate(self, one: Contestant, operations: int | None, samples: Mapping[int, Sample]) -> float | None:
        if operations is None or self._settings.device != "cpu":
            return None
        shares = [
            operations / max(sample.processor, 1e-9) / max(self.products[number][one.precision].values())
            for number, sample in samples.items()
        ]
        return median(shares)


def error(found: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> float | None:
    """The largest over the outputs of rms(found - truth) by rms(truth); None where there is nothing to compare.

    Outputs of other shapes are infinitely wrong.
    """
    if not found or not truth:
        return None
    if [value.shape for value in found.values()] != [value.shape for value in truth.values()]:
        return float("inf")
    pairs = zip(found.values(), truth.values(), strict=True)
    return max(float((one - other).norm() / other.norm().clamp(min=1e-300)) for one, other in pairs)


def _groups(able: Sequence[Contestant], heavy: bool) -> list[list[Contestant]]:
    """Who is in memory at once: all, or, where a row is heavy, ours with one peer after the other."""
    if not heavy:
        return [list(able)]
    own = [one for one in able if one.yardstick]
    peers = [one for one in able if not one.yardstick]
    return [[*(mine for mine in own if mine.precision == one.precision), one] for one in peers] or [own]


def _blank(row: Row, one: Contestant, settings: Settings, reason: str) -> Entry:
    side = row.side(settings.size)
    curves = tuple((row.family, axis, side if place is None else place) for axis, place in row.curves)
    return Entry(row.name, row.shown(settings.size), row.group, one, settings.threads, reason, curves=curves)


def _free() -> float:
    """Bytes of memory that a new process may take; infinite where the system does not tell."""
    information = Path("/proc/meminfo")
    if information.exists():
        for line in information.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    return float("inf")
