"""Our forward passes beside upstream's: the same calls in turn, each side in a process of its own.

Only the ratio says something: the machine's other work slows both sides alike, because they take turns.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from parity import package
from parity.bench.components import COMPONENTS
from parity.workers import boot
from parity.workers.client import WorkerError

Measured = tuple[float, float]
"""Seconds and bytes of a call."""


@dataclass(frozen=True)
class Timing:
    """One component's result.

    Attributes:
        name: the component.
        upstream: median seconds of upstream's calls.
        ours: median seconds of ours.
        ratio: median over the rounds of upstream's time by ours: above 1, ours is faster.
        low: smallest ratio of a round.
        high: largest.
        memory: median over the rounds of the bytes that upstream's call takes at most, by ours.
    """

    name: str
    upstream: float
    ours: float
    ratio: float
    low: float
    high: float
    memory: float


class Side:
    """One library's process; a context manager."""

    def __init__(self, python: Path, module: str, threads: int) -> None:
        folder = package.FOLDER
        folders = {"parity": str(folder)}
        if module == "parity.run.samblocks_library":
            folders["samblocks"] = str(folder.parent / "samblocks")
        self._process = subprocess.Popen(
            boot.command(python, folders, "parity.bench.serve:serve", {"module": module, "threads": threads}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "YOLO_OFFLINE": "1", "HF_HUB_OFFLINE": "1"},
        )

    def tell(self, word: str) -> Measured:
        """Send a line and wait for the seconds and bytes that come back."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{word}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError("a process of the forward benchmark ended early")
        seconds, peak = line.split()
        return float(seconds), float(peak)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(timeout=30)


def compare(python: Path, rounds: int, threads: int) -> list[Timing]:
    """Time every component.

    Args:
        python: the interpreter of the references' environment.
        rounds: calls of each side that are timed.
        threads: threads of each side; the sides never run at once.

    Raises:
        WorkerError: a side ended early.
    """
    found = []
    with (
        Side(python, "parity.references.meta.library", threads) as theirs,
        Side(Path(sys.executable), "parity.run.samblocks_library", threads) as ours,
    ):
        for number, component in enumerate(COMPONENTS):
            for side in (theirs, ours):
                side.tell(str(number))
            pairs = [(theirs.tell("run"), ours.tell("run")) for _ in range(rounds)]
            found.append(summary(component.name, pairs))
    return found


def summary(name: str, pairs: list[tuple[Measured, Measured]]) -> Timing:
    """What pairs of seconds and bytes, upstream's and ours, come to."""
    ratios = [upstream[0] / own[0] for upstream, own in pairs]
    return Timing(
        name,
        median(upstream[0] for upstream, _ in pairs),
        median(own[0] for _, own in pairs),
        median(ratios),
        min(ratios),
        max(ratios),
        median(upstream[1] / max(own[1], 1.0) for upstream, own in pairs),
    )
