"""The table of a layout that has Meta's names: every tensor is itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from samblocks.errors import LayoutError
from samblocks.layouts.operations import KEEP
from samblocks.layouts.rules import Move, Moves, Table
from samblocks.layouts.tensors import TensorInfo


class Identity(Table):
    """Rules that map every name to itself.

    Args:
        name: the layout, for messages.
        keys: the names, in state-dict order.

    >>> Identity("meta", ["no_mem_embed"]).to_other("no_mem_embed")
    ('no_mem_embed',)
    """

    def __init__(self, name: str, keys: Iterable[str]) -> None:
        super().__init__(name, ())
        self._places = {key: place for place, key in enumerate(keys)}

    def to_other(self, key: str) -> tuple[str, ...]:
        """The name itself; see `Table.to_other`."""
        if key not in self._places:
            raise LayoutError(f"{key!r} is no tensor of {self.name}")
        return (key,)

    def to_meta(self, key: str) -> tuple[str, ...]:
        """The name itself; see `Table.to_meta`."""
        return self.to_other(key)

    def knows_other(self, key: str) -> bool:
        """Whether it is one of the names."""
        return key in self._places

    def optional_other(self, key: str) -> bool:
        """No tensor may be left out."""
        return False

    def shapes_other(self) -> set[str]:
        """What the names look like with `#` for every number."""
        return {re.sub(r"[0-9]+", "#", key) for key in self._places}

    def rank_other(self, key: str) -> list[tuple[int, int]]:
        """The place in the state dict."""
        return [(self._places.get(key, len(self._places)), 0)]

    def check(self, *, meta: Iterable[str] = (), other: Iterable[str] = ()) -> None:
        """Look every key up; see `Table.check`."""
        for key in (*meta, *other):
            self.to_other(key)

    def moves(self, tensors: Mapping[str, TensorInfo], *, to_meta: bool) -> Moves:
        """What becomes of tensors: nothing; see `Table.moves`."""
        known = {key: info for key, info in tensors.items() if key in self._places}
        strange = {key: f"no tensor of {self.name} has this name" for key in tensors if key not in known}
        return Moves(tuple(Move(KEEP, (key,), (key,)) for key in known), strange, known)
