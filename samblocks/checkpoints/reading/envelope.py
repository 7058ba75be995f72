"""Find the state dict in what a file holds: flat, or under a key, next to what training needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from samblocks.checkpoints.reading.pickle_values import TensorRef, key_text

ENVELOPES: Final = ("model", "state_dict", "model_state", "model_state_dict", "module", "weights", "params")
"""Keys under which trainers store a state dict, in the order in which they are tried."""

DEEPEST: Final = 3
MOST_VISITS: Final = 100_000
"""Second visits to what lies beside the state dict, all together; beyond it, what was counted is not counted again."""


class NoStateDict(Exception):
    """No table of tensors was found."""


@dataclass(frozen=True, slots=True)
class Unused:
    """Something next to the state dict that is not loaded.

    Args:
        name: its key.
        tensors: how many tensors are in it, however deep.
        nbytes: their bytes.
    """

    name: str
    tensors: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Found:
    """A state dict: its tensors, the names that lead to it, and what is unused on the way."""

    tensors: dict[str, TensorRef]
    path: tuple[str, ...]
    unused: tuple[Unused, ...]


def find_state_dict(root: object, size: Callable[[TensorRef], int]) -> Found:
    """Follow the envelopes from the root of a file to the table of tensors.

    Args:
        root: what the file holds.
        size: gives a tensor's bytes.

    Raises:
        NoStateDict: there is none.
    """
    return _Search(size).run(root)


class _Search:
    """The walks through one file: each table is read once, whatever leads to it, and what is counted has an end."""

    def __init__(self, size: Callable[[TensorRef], int]) -> None:
        self._size = size
        self._sizes: dict[int, int] = {}
        self._leads: dict[tuple[int, int], bool] = {}
        self._children: dict[int, tuple[object, ...]] = {}
        self._named: dict[int, bool] = {}
        self._counted: dict[int, tuple[int, int]] = {}
        self._visits = 0

    def run(self, root: object) -> Found:
        """See `find_state_dict`."""
        path: list[str] = []
        unused: list[Unused] = []
        table = root
        for _ in range(DEEPEST):
            if not isinstance(table, dict):
                break
            inner = self._inner(table)
            tensors = _tensors(table)
            if tensors and (inner is None or inner not in ENVELOPES):
                unused += [self._unused(key, value) for key, value in table.items() if key not in tensors]
                return Found(tensors, tuple(path), tuple(unused))
            if inner is None:
                break
            unused += [self._unused(key, value) for key, value in table.items() if key != inner]
            path.append(inner)
            table = table[inner]
        raise NoStateDict(_description(root))

    def _inner(self, table: Mapping[object, object]) -> str | None:
        """The key of the table's state dict: a known name, or the only key that leads to tensors."""
        leading = {key: None for key, value in table.items() if isinstance(key, str) and self._leading(value)}
        known = [name for name in ENVELOPES if name in leading]
        if known:
            return known[0]
        return next(iter(leading)) if len(leading) == 1 else None

    def _leading(self, value: object, depth: int = DEEPEST) -> bool:
        """Whether a table holds named tensors, directly or through a known envelope."""
        if not isinstance(value, dict) or not depth:
            return False
        at = id(value), depth
        if at not in self._leads:
            self._leads[at] = self._has_named(value) or any(
                self._leading(value.get(name), depth - 1) for name in ENVELOPES
            )
        return self._leads[at]

    def _has_named(self, table: Mapping[object, object]) -> bool:
        if id(table) not in self._named:
            self._named[id(table)] = any(
                isinstance(key, str) and isinstance(item, TensorRef) for key, item in table.items()
            )
        return self._named[id(table)]

    def _unused(self, key: object, value: object) -> Unused:
        """Count the tensors under `value`, each table, list and tensor once."""
        name = key if isinstance(key, str) else key_text(key)
        if id(value) not in self._counted:
            self._counted[id(value)] = self._count(value)
        return Unused(name, *self._counted[id(value)])

    def _count(self, value: object) -> tuple[int, int]:
        tensors = nbytes = 0
        waiting, seen = [value], set[int]()
        while waiting:
            item = waiting.pop()
            if id(item) in seen or not isinstance(item, TensorRef | dict | list | tuple):
                continue
            seen.add(id(item))
            if isinstance(item, TensorRef):
                tensors += 1
                nbytes += self._bytes(item)
            elif id(item) not in self._children or self._visits < MOST_VISITS:
                waiting += self._inside(item)
        return tensors, nbytes

    def _inside(self, table: dict[object, object] | list[object] | tuple[object, ...]) -> tuple[object, ...]:
        """The tensors and containers in a container, each once."""
        if id(table) in self._children:
            self._visits += 1 + len(self._children[id(table)])
        else:
            items = table.values() if isinstance(table, dict) else table
            kept = {id(item): item for item in items if isinstance(item, TensorRef | dict | list | tuple)}
            self._children[id(table)] = tuple(kept.values())
        return self._children[id(table)]

    def _bytes(self, tensor: TensorRef) -> int:
        if id(tensor) not in self._sizes:
            self._sizes[id(tensor)] = self._size(tensor)
        return self._sizes[id(tensor)]


def _tensors(table: Mapping[object, object]) -> dict[str, TensorRef]:
    return {k: v for k, v in table.items() if isinstance(k, str) and isinstance(v, TensorRef)}


def _description(root: object) -> str:
    if isinstance(root, dict):
        keys = ", ".join(key_text(key) for key in list(root)[:6]) or "nothing"
        return f"it holds no table of named tensors, only {keys}"
    if isinstance(root, TensorRef):
        return "it holds one tensor, not a table of them"
    return "it holds no table of named tensors"
