"""Find the state dict in what a file holds: flat, or under a key, next to what training needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from samblocks.checkpoints.reading.pickle_values import TensorRef

ENVELOPES: Final = ("model", "state_dict", "model_state", "model_state_dict", "module", "weights", "params")
"""Keys under which trainers store a state dict, in the order in which they are tried."""

DEEPEST: Final = 3
_LONGEST_WALK: Final = 200_000


class NoStateDict(Exception):
    """No table of tensors was found."""


@dataclass(frozen=True, slots=True)
class Unused:
    """Something next to the state dict that is not loaded.

    Args:
        name: its key.
        tensors: the tensors in it, however deep.
    """

    name: str
    tensors: tuple[TensorRef, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A state dict: its tensors, the names that lead to it, and what is unused on the way."""

    tensors: dict[str, TensorRef]
    path: tuple[str, ...]
    unused: tuple[Unused, ...]


def find_state_dict(root: object) -> Found:
    """Follow the envelopes from the root of a file to the table of tensors.

    Raises:
        NoStateDict: there is none.
    """
    path: list[str] = []
    unused: list[Unused] = []
    table = root
    for _ in range(DEEPEST):
        if not isinstance(table, dict):
            break
        inner = _inner(table)
        tensors = _tensors(table)
        if tensors and (inner is None or inner not in ENVELOPES):
            unused += [_unused(str(key), value) for key, value in table.items() if key not in tensors]
            return Found(tensors, tuple(path), tuple(unused))
        if inner is None:
            break
        unused += [_unused(str(key), value) for key, value in table.items() if key != inner]
        path.append(inner)
        table = table[inner]
    raise NoStateDict(_description(root))


def _tensors(table: Mapping[object, object]) -> dict[str, TensorRef]:
    return {k: v for k, v in table.items() if isinstance(k, str) and isinstance(v, TensorRef)}


def _inner(table: Mapping[object, object]) -> str | None:
    """The key of the table's state dict: a known name, or the only key that leads to tensors."""
    leading = [key for key, value in table.items() if isinstance(key, str) and _leads_to_tensors(value)]
    known = [name for name in ENVELOPES if name in leading]
    if known:
        return known[0]
    return leading[0] if len(leading) == 1 else None


def _leads_to_tensors(value: object, depth: int = DEEPEST) -> bool:
    """Whether a table holds named tensors, directly or through a known envelope."""
    if not isinstance(value, dict) or not depth:
        return False
    if any(isinstance(key, str) and isinstance(item, TensorRef) for key, item in value.items()):
        return True
    return any(_leads_to_tensors(value.get(name), depth - 1) for name in ENVELOPES)


def _unused(name: str, value: object) -> Unused:
    """Count the tensors under `value`, each table and list once."""
    found: list[TensorRef] = []
    waiting, seen = [value], set[int]()
    while waiting and len(seen) < _LONGEST_WALK:
        item = waiting.pop()
        if isinstance(item, TensorRef):
            found.append(item)
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            waiting += item.values() if isinstance(item, dict) else item
    return Unused(name, tuple(found))


def _description(root: object) -> str:
    if isinstance(root, dict):
        keys = ", ".join(repr(str(key)[:40]) for key in list(root)[:6]) or "nothing"
        return f"it holds no table of named tensors, only {keys}"
    if isinstance(root, TensorRef):
        return "it holds one tensor, not a table of them"
    return "it holds no table of named tensors"
