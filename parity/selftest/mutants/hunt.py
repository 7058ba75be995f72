"""Hunt mutants: each is planted in a process of its own, which runs cases until one sees it."""

import importlib
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from parity.execution import paths
from parity.execution.case import Case
from parity.selftest.mutants.gates import Findings, judge
from parity.selftest.mutants.mutant import Mutant
from parity.selftest.mutants.planting import plant
from parity.selftest.mutants.reference_outputs import Goldens

TIMEOUT = 300.0
"""Seconds after which a mutant that does not end counts as killed."""


@dataclass
class Result:
    """How one mutant fared.

    Attributes:
        mutant: which one; None for the code as it is.
        cases: what was seen in each case that was run, by id.
        seconds: how long it took.
        broken: why it could not be judged at all.
    """

    mutant: Mutant | None
    cases: dict[str, Findings] = field(default_factory=dict)
    seconds: float = 0.0
    broken: str = ""

    @property
    def killers(self) -> dict[str, Findings]:
        """The cases in which some gate saw it."""
        return {name: found for name, found in self.cases.items() if found.gates}

    @property
    def killed(self) -> bool:
        """Whether some case saw it."""
        return bool(self.killers)

    @property
    def gates(self) -> set[str]:
        """All gates that saw it."""
        return {gate for found in self.cases.values() for gate in found.gates}

    @property
    def ratio(self) -> float | None:
        """The largest R that was seen."""
        return max((found.ratio for found in self.cases.values() if found.ratio is not None), default=None)

    def missed_by(self, usual: str) -> bool:
        """Whether `atol` or `cosine` would have passed every output of every case that was run."""
        return self.killed and not any(getattr(found, usual) for found in self.cases.values())


def plan(mutant: Mutant, cases: Mapping[str, Case], dependents: Sequence[str]) -> list[list[Case]]:
    """The rounds of cases for a mutant: those it names or all of its block, the block's others, and dependents'.

    A round is run whole; a mutant that some case of it has seen is not hunted any further.
    """
    own = [case for case in cases.values() if case.block == mutant.block]
    first = [case for case in own if not mutant.cases or case.name in mutant.cases]
    rounds = [first, [case for case in own if case not in first]]
    rounds += [[case for case in cases.values() if case.block == block] for block in dependents]
    return [cases for cases in rounds if cases]


def hunt(
    work: Sequence[tuple[Mutant | None, list[list[Case]]]],
    goldens: Mapping[str, Goldens],
    *,
    at_once: int = 2,
    timeout: float = TIMEOUT,
) -> Iterator[Result]:
    """Yield a result for each mutant, as they end.

    Args:
        work: mutants, or None for the code as it is, with their rounds of cases.
        goldens: upstream's outputs by case and reference.
        at_once: how many processes run beside each other.
        timeout: seconds for one mutant.
    """
    torch.set_num_threads(1)
    context: Any = multiprocessing.get_context("fork")
    waiting = list(reversed(work))
    running: dict[Connection, tuple[Any, Result, float]] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            mutant, rounds = waiting.pop()
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(mutant, rounds, goldens, sender), daemon=True)
            process.start()
            sender.close()
            running[receiver] = (process, Result(mutant), time.monotonic())
        for ready in wait(list(running), timeout=1.0):
            assert isinstance(ready, Connection)
            process, result, started = running[ready]
            try:
                case, found = ready.recv()
            except EOFError:  # the process has ended, well or not
                process.join()
                if process.exitcode != 0 and not result.killed and not result.broken:
                    # Harness errors are sent; what is left is a crash of the interpreter itself.
                    result.cases.setdefault("-", Findings()).crash("raised", f"exit {process.exitcode}")
                result.seconds = time.monotonic() - started
                del running[ready]
                yield result
                continue
            if isinstance(found, Findings):
                result.cases[case] = found
            else:
                result.broken = found
        for process, result, started in running.values():
            if time.monotonic() - started > timeout and process.is_alive():
                process.kill()
                result.cases.setdefault("-", Findings()).crash("timeout", f"{timeout:.0f} s")


def _child(
    mutant: Mutant | None,
    rounds: Sequence[Sequence[Case]],
    goldens: Mapping[str, Goldens],
    sender: Connection,
) -> None:
    torch.set_num_threads(1)
    try:
        if mutant is not None:
            plant(mutant)
        ways = importlib.reload(paths).PATHS  # of samblocks as planted
        with ways["usual" if mutant is None else mutant.paths]():
            _run(mutant, rounds, goldens, sender)
    except Exception as error:  # a stale mutant, or a fault of the harness: reported, not counted as killed
        sender.send(("-", f"{type(error).__name__}: {error}"))


def _run(
    mutant: Mutant | None,
    rounds: Sequence[Sequence[Case]],
    goldens: Mapping[str, Goldens],
    sender: Connection,
) -> None:
    for cases in rounds:
        seen = False
        for case in cases:
            if goldens[case.id]:
                found = judge(case, goldens[case.id])
                seen = seen or bool(found.gates)
                sender.send((case.id, found))
        if seen and mutant is not None:
            return
