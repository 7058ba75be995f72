"""A bounded, thread-safe store of constant tables.

Tables live here and not on modules: so a forward pass changes no module, copies and pickles of a module
stay small, and all layers that need the same table share it. Whoever takes a table from here must not
hand it, or a view of it, to a caller.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

import torch
from torch import Tensor

Tables = tuple[Tensor, ...]


class TableCache:
    """The tables that were used last, by a key that names all they depend on.

    Args:
        capacity: how many entries are kept; the one unused for longest goes first.

    Examples:
        >>> cache = TableCache(capacity=2)
        >>> x = torch.zeros(3)
        >>> (first,) = cache.get(("ramp", 3), lambda: (torch.arange(3),), like=x)
        >>> (second,) = cache.get(("ramp", 3), lambda: (torch.arange(3),), like=x)
        >>> first is second
        True
    """

    def __init__(self, capacity: int = 32) -> None:
        self.capacity = capacity
        self._entries: OrderedDict[Hashable, Tables] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], Tables], *, like: Tensor) -> Tables:
        """Return the tables under `key`, made by `make` if they are not there.

        Nothing is looked up while a graph is traced or when `like` is no plain tensor (a fake tensor, for
        one), and nothing is kept that a tracer or a function transform has wrapped: such a table belongs to
        that trace alone.

        Args:
            key: everything the tables depend on, size, device and dtype included.
            make: builds the tables.
            like: the tensor the tables will meet, of any shape.

        Returns:
            The tables; not to be written to.
        """
        if torch.compiler.is_compiling() or type(like) not in (Tensor, torch.nn.Parameter):
            return make()
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
                return found
        # A table made in inference mode could never take part in a backward pass later on.
        with torch.inference_mode(False), torch.no_grad():
            made = make()
        if all(map(_is_plain, made)):
            with self._lock:
                self._entries[key] = made
                while len(self._entries) > self.capacity:
                    self._entries.popitem(last=False)
        return made

    def clear(self) -> None:
        """Forget all tables."""
        with self._lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)


def _is_plain(table: Tensor) -> bool:
    """Whether a table is a tensor with memory of its own, not one wrapped by `torch.func` or a tracer."""
    try:
        table.untyped_storage()
    except NotImplementedError:
        return False
    return type(table) is Tensor
