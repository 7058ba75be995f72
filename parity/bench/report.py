"""What a bench yields, as data: entries with their figures, and where they come from. Reports read nothing else."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Self

import torch

from parity.bench.contestants import Contestant
from parity.errors import UsageError

SCHEMA = 2


@dataclass(frozen=True)
class Figure:
    """A figure of several rounds: its median, and how far it spreads."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of the rounds' values, of which there is at least one."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Entry:
    """One contestant on one row.

    Attributes:
        row: the row's name.
        title: its title.
        group: its group.
        contestant: whose result it is.
        threads: how many each side had.
        reason: why it did not run; empty where it did. Then the figures are there.
        wall: seconds by the clock of a call.
        processor: seconds of the processor, all threads together.
        peak: bytes that a call takes at most beyond what was there.
        process: bytes of the whole process at most, from before it was set up.
        convert: seconds that a conversion took, once; 0 without one.
        set_up: seconds from the filled model, or the converted file, to the end of the first call.
        error: rms of the difference to float64 by the rms of float64; None where it was not told.
        ratio: this one's time by that of our eager code in the same precision: above 1 ours is faster.
        rate: share of what plain products reach on this machine in this precision, in the same rounds.
        curves: places on axes along which the row's family is followed, with the family's name.
    """

    row: str
    title: str
    group: str
    contestant: Contestant
    threads: int
    reason: str = ""
    wall: Figure | None = None
    processor: Figure | None = None
    peak: float = 0.0
    process: float = 0.0
    convert: float = 0.0
    set_up: float = 0.0
    error: float | None = None
    ratio: Figure | None = None
    rate: float | None = None
    curves: tuple[tuple[str, str, int], ...] = ()

    @property
    def ran(self) -> bool:
        """Whether there are figures."""
        return not self.reason

    @property
    def leads(self) -> bool:
        """Whether a peer was faster than our eager code."""
        return self.ratio is not None and not self.contestant.yardstick and self.ratio.median < 1


@dataclass(frozen=True)
class Report:
    """A whole bench.

    Attributes:
        environment: date, machine and manner.
        entries: what was measured, and what was not.
        products: best rate of plain products by threads and precision: operations a second of the processor.
        loading: the table about loading, as data; empty where it was not asked for.
        imports: seconds and bytes of importing packages, by package; so for a package that is missing the reason.
    """

    environment: Mapping[str, Any]
    entries: Sequence[Entry] = ()
    products: Mapping[str, float] = field(default_factory=dict)
    loading: Mapping[str, float] = field(default_factory=dict)
    imports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def json(self) -> str:
        """As a document."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def read(cls, file: Path) -> Self:
        """What `json` wrote.

        Raises:
            UsageError: the file is missing or something else.
        """
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            if document.pop("schema") != SCHEMA:
                raise ValueError(f"its schema is not {SCHEMA}")
            entries = [_entry(entry) for entry in document.pop("entries")]
            return cls(entries=entries, **document)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as damage:
            raise UsageError(f"{file} is not what `parity bench --json` writes: {damage}") from None


def _entry(record: Mapping[str, Any]) -> Entry:
    figures = {
        name: Figure(**record[name]) for name in ("wall", "processor", "ratio") if record[name] is not None
    }
    curves = tuple(tuple(curve) for curve in record["curves"])
    return Entry(**{**record, **figures, "contestant": Contestant(**record["contestant"]), "curves": curves})


def surroundings(**manner: Any) -> dict[str, Any]:
    """What the figures depend on: date, machine, versions, and the manner of the run."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _machine(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **manner,
    }


def _machine() -> str:
    """What the processor calls itself."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
