"""The kill matrix: for people as lines, for machines as JSON."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parity.reports.summary import SCHEMA, environment
from parity.selftest.mutants.gates import GATES, USUAL
from parity.selftest.mutants.hunt import Result
from parity.selftest.mutants.mutant import Mutant
from samblocks.files import write_text


def line(result: Result, width: int) -> str:
    """One mutant: its fate, who saw it by which gates, and which usual gate would have passed it."""
    mutant = _of(result)
    missed = [words for usual, words in USUAL.items() if result.missed_by(usual)]
    killers = result.killers
    if killers:
        first, found = next(iter(killers.items()))
        gate, what = next(iter(found.gates.items()))
        by = f"{len(killers)} of {len(result.cases)} cases, {first.split('/')[-1]}: {gate} ({what})"
    else:
        by = result.broken or mutant.equivalent or "no case sees it"
    remark = f"  | passed by {' and '.join(missed)}" if missed else ""
    return f"{_FATES[_state(result)]:10} {mutant.id:{width}} {_letters(result)}  {by}{remark}"


def text(results: Sequence[Result]) -> Iterator[str]:
    """The matrix, line by line: by block, then the totals."""
    width = max((len(_of(result).id) for result in results), default=10)
    letters = ", ".join(f"{_LETTERS[gate]} {gate}" for gate in GATES)
    yield f"gates: {letters}"
    for result in sorted(results, key=lambda result: (result.killed, _of(result).id)):
        yield line(result, width)
    yield ""
    yield from totals(results)


def totals(results: Sequence[Result]) -> Iterator[str]:
    """How many were killed, by which gate, and what the usual gates would have missed."""
    killed = [result for result in results if result.killed]
    equivalent = [result for result in results if _state(result) == "equivalent"]
    survived = [result for result in results if failed(result)]
    yield (
        f"{len(results)} mutants of {len({_of(result).block for result in results})} blocks and models, "
        f"{len({_of(result).family for result in results})} families: {len(killed)} killed, "
        f"{len(equivalent)} equivalent, {len(survived)} survived"
    )
    seen = Counter(gate for result in killed for gate in result.gates)
    alone = Counter(next(iter(result.gates)) for result in killed if len(result.gates) == 1)
    for gate in GATES:
        yield f"  {gate:12} sees {seen[gate]:4}, alone {alone[gate]:4}"
    for usual, words in USUAL.items():
        missed = [result for result in killed if result.missed_by(usual)]
        kills = [found for result in killed for found in result.killers.values()]
        passed = sum(not getattr(found, usual) for found in kills)
        yield (
            f"  {words} alone would have missed {len(missed)} of {len(killed)} mutants, "
            f"and {passed} of the {len(kills)} cases that saw one"
        )


def failed(result: Result) -> bool:
    """Whether a mutant survives without a proof that it cannot be seen, or could not be planted."""
    return _state(result) in ("broken", "survived")


def write_json(results: Sequence[Result], path: Path) -> None:
    """Write the matrix for machines, whole or not at all."""
    document = {
        "schema": SCHEMA,
        "environment": environment({}),
        "gates": list(GATES),
        "usual": USUAL,
        "mutants": [_entry(result) for result in results],
    }
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _entry(result: Result) -> dict[str, Any]:
    mutant = _of(result)
    gates: dict[str, str] = {}
    for found in result.cases.values():
        for gate, what in found.gates.items():
            gates.setdefault(gate, what)
    ratio = result.ratio
    return {
        "id": mutant.id,
        "block": mutant.block,
        "name": mutant.name,
        "family": mutant.family,
        "file": mutant.file,
        "changes": [asdict(change) for change in mutant.changes],
        "why": mutant.why,
        "state": _state(result),
        "equivalent": mutant.equivalent,
        "broken": result.broken,
        "gates": {gate: gates[gate] for gate in GATES if gate in gates},
        "killers": {case: dict(found.gates) for case, found in result.killers.items()},
        "cases": list(result.cases),
        "ratio": ratio if ratio is None or ratio < float("inf") else str(ratio),
        "missed_by": [usual for usual in USUAL if result.missed_by(usual)],
        "seconds": round(result.seconds, 2),
    }


_LETTERS = dict(zip(GATES, "!sdfxR6t", strict=True))


def _letters(result: Result) -> str:
    return "".join(_LETTERS[gate] if gate in result.gates else "·" for gate in GATES)


_FATES = {"broken": "BROKEN", "survived": "SURVIVED", "equivalent": "equivalent", "killed": "killed"}
"""States, what has failed in capitals."""


def _state(result: Result) -> str:
    if result.broken:
        return "broken"
    if result.killed:
        return "killed"
    return "equivalent" if _of(result).equivalent else "survived"


def _of(result: Result) -> Mutant:
    if result.mutant is None:
        raise ValueError("the code as it is is no mutant")
    return result.mutant
