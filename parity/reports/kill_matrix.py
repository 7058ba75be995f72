"""The kill matrix of planted bugs, read from what `parity mutants --json` wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kill:
    """One planted bug.

    Attributes:
        block: the block it was planted in.
        name: what it is called.
        family: the kind of mistake.
        why: who makes it.
        state: "killed", "survived", "equivalent", or "broken" where it could not be judged.
        gates: gate → what it saw.
        case: the case that saw it first.
        ratio: the largest R.
        missed: which of the usual gates would have passed it.
    """

    block: str
    name: str
    family: str
    why: str
    state: str
    gates: Mapping[str, str]
    case: str
    ratio: float | None
    missed: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """All of them, and the gates that are its columns."""

    gates: tuple[str, ...]
    kills: tuple[Kill, ...]

    def count(self, state: str) -> int:
        """How many are in a state."""
        return sum(kill.state == state for kill in self.kills)

    def missed(self, gate: str) -> int:
        """How many killed ones a usual gate would have passed."""
        return sum(gate in kill.missed for kill in self.kills if kill.state == "killed")


_STATES = ("broken", "survived", "equivalent", "killed")

USUAL = {"atol": "|Δ| ≤ 1e-4", "cosine": "cosine ≥ 0.99"}
"""The gates in use elsewhere."""


def matrix(document: Mapping[str, Any] | Sequence[Any]) -> Matrix:
    """The matrix; survivors first. Fields that a later version adds are passed over.

    Raises:
        ValueError: when the document does not list mutants.
    """
    entries = document.get("mutants") if isinstance(document, Mapping) else document
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise ValueError("a file of mutants has a list called 'mutants'")
    kills = [_kill(entry) for entry in entries if isinstance(entry, Mapping)]
    seen = dict.fromkeys(gate for kill in kills for gate in kill.gates)
    order = document.get("gates") if isinstance(document, Mapping) else None
    # In the order of the document, coarsest first, and without those that saw nothing.
    gates = [
        *(gate for gate in order or () if gate in seen),
        *(gate for gate in seen if gate not in (order or ())),
    ]
    return Matrix(tuple(gates), tuple(sorted(kills, key=lambda k: (_STATES.index(k.state), k.block, k.name))))


def _kill(entry: Mapping[str, Any]) -> Kill:
    block, _, name = str(entry.get("id", "")).partition("/")
    gates = entry.get("gates") or {}
    if not isinstance(gates, Mapping):
        gates = dict.fromkeys([str(gate) for gate in gates], "")
    killers = entry.get("killers") or entry.get("cases") or entry.get("case") or ()
    first = killers if isinstance(killers, str) else next(iter(killers), "")
    killed = bool(entry.get("killed", bool(gates)))
    ratio = entry.get("ratio")
    return Kill(
        block=str(entry.get("block") or block),
        name=str(entry.get("name") or name),
        family=str(entry.get("family") or ""),
        why=str(entry.get("why") or ""),
        state="broken"
        if entry.get("broken")
        else "killed"
        if killed
        else "equivalent"
        if entry.get("equivalent")
        else "survived",
        gates={str(gate): str(what or "") for gate, what in gates.items()},
        case=str(first),
        ratio=float(ratio) if isinstance(ratio, int | float | str) and ratio != "" else None,
        missed=tuple(gate for gate in USUAL if _missed(entry, gate)),
    )


def _missed(entry: Mapping[str, Any], gate: str) -> bool:
    missed = entry.get("missed_by", entry.get("missed"))
    if isinstance(missed, Mapping):
        return bool(missed.get(gate))
    if isinstance(missed, Sequence) and not isinstance(missed, str):
        return gate in missed
    return bool(entry.get(f"missed_by_{gate}"))
