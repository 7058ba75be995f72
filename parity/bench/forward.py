"""Our forward passes beside upstream's: the same calls in turn, each side in a process of its own.

Only the ratio says something: the machine's other work slows both sides alike, because they take turns.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from parity import package
from parity.bench.components import COMPONENTS
from parity.workers.process import TIMEOUT, Process

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


class Side(Process):
    """One library's process; a context manager."""

    def __init__(
        self, name: str, python: Path, module: str, threads: int, *, timeout: float = TIMEOUT
    ) -> None:
        ours = {"samblocks": package.ROOT / "samblocks"} if name == "samblocks" else {}
        arguments = {"module": module, "threads": threads}
        super().__init__(name, python, "parity.bench.serve:serve", arguments, packages=ours, timeout=timeout)

    def make(self, number: int) -> None:
        """Make the component with this number, in place of the one before."""
        self.ask({"make": number}, about=COMPONENTS[number].name)

    def measure(self, about: str) -> Measured:
        """Call it once."""
        found, _ = self.ask({}, about=about)
        return float(found["seconds"]), float(found["peak"])


def compare(python: Path, rounds: int, threads: int, *, timeout: float = TIMEOUT) -> list[Timing]:
    """Time every component.

    Args:
        python: the interpreter of the references' environment.
        rounds: calls of each side that are timed.
        threads: threads of each side; the sides never run at once.
        timeout: seconds that each step of a side's start may take.

    Raises:
        WorkerError: a side ended early.
    """
    found = []
    with (
        Side("meta", python, "parity.references.meta.library", threads, timeout=timeout) as theirs,
        Side(
            "samblocks", Path(sys.executable), "parity.run.samblocks_library", threads, timeout=timeout
        ) as ours,
    ):
        for number, component in enumerate(COMPONENTS):
            for side in (theirs, ours):
                side.make(number)
            pairs = [(theirs.measure(component.name), ours.measure(component.name)) for _ in range(rounds)]
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
