"""The kill matrix of planted bugs, read from what `parity mutants --json` wrote."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STATES = ("broken", "survived", "equivalent", "killed")
"""What can become of a planted bug, the alarming first."""


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
        case: the case that saw it first; empty where none did.
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
    """All of them, and what its columns are.

    Attributes:
        gates: our gates that saw something, coarsest first.
        usual: the gates in use elsewhere, which ours are compared with, and their words.
        kills: the planted bugs, the alarming first.
    """

    gates: tuple[str, ...] = ()
    usual: Mapping[str, str] = field(default_factory=dict)
    kills: tuple[Kill, ...] = ()

    def count(self, state: str) -> int:
        """How many are in a state."""
        return sum(kill.state == state for kill in self.kills)

    def missed(self, gate: str) -> int:
        """How many killed ones a usual gate would have passed."""
        return sum(gate in kill.missed for kill in self.kills if kill.state == "killed")


def matrix(document: Mapping[str, Any]) -> Matrix:
    """The matrix that a document tells of.

    Raises:
        ValueError: the document is not what `parity mutants --json` writes.
    """
    try:
        kills = sorted(
            map(_kill, document["mutants"]), key=lambda k: (STATES.index(k.state), k.block, k.name)
        )
        gates = [gate for gate in document["gates"] if any(gate in kill.gates for kill in kills)]
        return Matrix(tuple(gates), dict(document["usual"]), tuple(kills))
    except KeyError as lacking:
        raise ValueError(f"it has no {lacking}") from None
    except (TypeError, AttributeError) as damage:
        raise ValueError(str(damage)) from None


def _kill(entry: Mapping[str, Any]) -> Kill:
    return Kill(
        block=entry["block"],
        name=entry["name"],
        family=entry["family"],
        why=entry["why"],
        state=entry["state"],
        gates=dict(entry["gates"]),
        case=next(iter(entry["killers"]), ""),
        ratio=None if entry["ratio"] is None else float(entry["ratio"]),
        missed=tuple(entry["missed_by"]),
    )
