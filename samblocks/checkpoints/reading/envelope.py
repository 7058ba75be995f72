"""Find the state dict in what a file holds: flat, or under a key, next to what training needs."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from samblocks.checkpoints.reading.pickle_values import TensorRef, key_text
from samblocks.errors import counted, printable
from samblocks.layouts.components import PART_NAMES

ENVELOPES: Final = ("model", "state_dict", "model_state", "model_state_dict", "module", "weights", "params")
"""Keys under which trainers store a state dict, in the order in which they are tried."""

DEEPEST: Final = 3
_NAMED: Final = 8
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


def find_state_dict(root: object, size: Callable[[TensorRef], int], chosen: str | None = None) -> Found:
    """Follow the envelopes from the root of a file to the table of tensors.

    Tables that are named after parts of a model are joined, and so are the tensors beside them.

    Args:
        root: what the file holds.
        size: gives a tensor's bytes.
        chosen: the key of the table that is meant, with dots between those of nested ones; or what the names
            that are meant begin with.

    Raises:
        NoStateDict: there is none, or several and none was chosen.
    """
    search = _Search(size)
    return search.run(root) if chosen is None else search.choose(root, chosen)


class _Search:
    """The walks through one file: each table is read once, whatever leads to it, and what is counted has an end."""

    def __init__(self, size: Callable[[TensorRef], int]) -> None:
        self._size = size
        self._sizes: dict[int, int] = {}
        self._leads: dict[tuple[int, int], bool] = {}
        self._children: dict[int, tuple[object, ...]] = {}
        self._named: dict[int, bool] = {}
        self._counted: dict[int, tuple[int, int]] = {}
        self._found: dict[int, dict[str, TensorRef]] = {}
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
            parts = {} if inner in ENVELOPES else self._parts(table)
            if len(parts) + bool(tensors) > 1:
                joined = tensors | {
                    f"{part}.{name}": ref for part in parts for name, ref in parts[part].items()
                }
                taken = tensors.keys() | parts.keys()
                unused += [self._unused(key, value) for key, value in table.items() if key not in taken]
                return Found(joined, (*path, "+".join(parts)), tuple(unused))
            if tensors and (inner is None or inner not in ENVELOPES):
                unused += [self._unused(key, value) for key, value in table.items() if key not in tensors]
                return Found(tensors, tuple(path), tuple(unused))
            if inner is None:
                break
            unused += [self._unused(key, value) for key, value in table.items() if key != inner]
            path.append(inner)
            table = table[inner]
        tables = _tables(root)
        if len(tables) == 1:
            return self.choose(root, next(iter(tables)))
        raise NoStateDict(_several(tables) if tables else _description(root))

    def choose(self, root: object, chosen: str) -> Found:
        """The table at a dotted path of keys, or the tensors whose names begin with what is left of it."""
        path: list[str] = []
        unused: list[Unused] = []
        table, rest = root, chosen.rstrip(".")
        while isinstance(table, dict):
            if not rest:
                found = self.run(table)
                return Found(found.tensors, (*path, *found.path), (*unused, *found.unused))
            heads = [
                key
                for key, value in table.items()
                if isinstance(key, str) and isinstance(value, dict) and f"{rest}.".startswith(f"{key}.")
            ]
            if not heads:
                named = {name: ref for name, ref in _tensors(table).items() if name.startswith(f"{rest}.")}
                if not named:
                    break
                others = {key: value for key, value in table.items() if key not in named}
                unused.append(self._unused(f"what does not begin with {rest}.", others))
                return Found(named, tuple(path), tuple(unused))
            head = max(heads, key=len)
            unused += [self._unused(key, value) for key, value in table.items() if key != head]
            path.append(head)
            table, rest = table[head], rest[len(head) + 1 :]
        tables = _tables(root)
        held = _listed(tables) if tables else _description(root).removeprefix("it holds ")
        raise NoStateDict(
            f"it holds no table {key_text(chosen)}, and no names that begin with it; it holds {held}"
        )

    def _parts(self, table: Mapping[object, object]) -> dict[str, dict[str, TensorRef]]:
        """The tables of tensors that are named after a part of a model."""
        found = {str(key): self._part(table[key]) for key in table if key in PART_NAMES}
        return {key: part for key, part in found.items() if part}

    def _part(self, table: object) -> dict[str, TensorRef]:
        """The tensors of a table; none where it leads to no single table, or into itself."""
        if id(table) not in self._found:
            self._found[id(table)] = {}
            if self._leading(table):
                with contextlib.suppress(NoStateDict):
                    self._found[id(table)] = self.run(table).tensors
        return self._found[id(table)]

    def _inner(self, table: Mapping[object, object]) -> str | None:
        """The key of the table's state dict: a known name, or the only key that leads to tensors."""
        leading = {key: None for key, value in table.items() if isinstance(key, str) and self._leading(value)}
        known = [name for name in ENVELOPES if name in leading]
        if known:
            return known[0]
        return next(iter(leading)) if len(leading) == 1 else None

    def _leading(self, value: object, depth: int = DEEPEST) -> bool:
        """Whether a table holds named tensors, directly, through a known envelope or in tables of parts."""
        if not isinstance(value, dict) or not depth:
            return False
        at = id(value), depth
        if at not in self._leads:
            self._leads[at] = self._has_named(value) or any(
                self._leading(value.get(name), depth - 1) for name in (*ENVELOPES, *PART_NAMES)
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


def _tables(root: object) -> dict[str, int]:
    """The tables of named tensors, however deep, by their dotted keys, with the number of tensors."""
    found: dict[str, int] = {}
    waiting: deque[tuple[object, tuple[str, ...]]] = deque([(root, ())])
    visits = 0
    while waiting and visits < MOST_VISITS:
        table, path = waiting.popleft()
        if not isinstance(table, dict) or len(path) > DEEPEST:
            continue
        visits += 1 + len(table)
        if count := len(_tensors(table)):
            found[".".join(path)] = count
            continue
        inner = [(key, value) for key, value in table.items() if isinstance(key, str)]
        waiting += [(value, (*path, key)) for key, value in inner if isinstance(value, dict)]
    return found


def _several(tables: Mapping[str, int]) -> str:
    most = printable(max(tables, key=lambda name: tables[name]), 60)
    return (
        f"it holds {len(tables)} tables of tensors, {_listed(tables)}: "
        f"say which with envelope={most!r} (--envelope {most})"
    )


def _listed(tables: Mapping[str, int]) -> str:
    names = sorted(tables, key=lambda name: -tables[name])
    shown = ", ".join(f"{key_text(name)} ({counted(tables[name], 'tensor')})" for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _description(root: object) -> str:
    if isinstance(root, dict):
        keys = ", ".join(key_text(key) for key in list(root)[:6]) or "nothing"
        return f"it holds no table of named tensors, only {keys}"
    if isinstance(root, TensorRef):
        return "it holds one tensor, not a table of them"
    return "it holds no table of named tensors"
