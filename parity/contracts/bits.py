"""Equal bits are asked of our code, not of the library of products.

On some processors torch's own products differ in the last bit with the thread that runs them, or with where their
operands lie in memory: a plain `nn.Linear` shows it. So where two runs of a module differ in bits, the operations that
it called are called again without it: if their bits differ too, the runs are held to be equal as two implementations
are; if not, it is our code that differs, and bits are demanded.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from samblocks.numerics.draws import undecided
from samblocks.numerics.verdict import compare, compare_double, equal

_THREADS, _OFFSETS = 4, (1, 4)
"""How often an operation is called again among threads, and by how many elements its operands are moved."""

_DOUBLE = 1e-12

Operation = tuple[Callable[..., Any], Any, Any, Any]
"""An operator, its arguments and keyword arguments, and what it gave."""


class _Recorded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps every operator that was called, with copies of what it was given and what it gave."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = tree_map(_copy, (args, kwargs or {}))
        result = func(*args, **(kwargs or {}))
        if not func._schema.is_mutable and torch.Tag.nondeterministic_seeded not in func.tags:
            self.operations.append((func, *given, tree_map(_copy, result)))
        return result


def operations_of(run: Callable[[], object]) -> list[Operation]:
    """The operators that a run calls, those that change tensors in place or draw numbers left out."""
    recorded = _Recorded()
    with recorded:
        run()
    return recorded.operations


def bits_may_differ(operations: Sequence[Operation]) -> str:
    """The operator that gives other bits in another thread or elsewhere in memory, by its name; empty if none does."""
    with ThreadPoolExecutor(_THREADS, initializer=start_thread(_THREADS)) as pool:
        for func, args, kwargs, result in operations:
            moved = [tree_map(lambda x, by=by: _moved(x, by), (args, kwargs)) for by in (0, *_OFFSETS)]
            again = [pool.submit(func, *given[0], **given[1]) for given in moved * 2]
            if any(not _same(result, future.result()) for future in again):
                return str(func)
    return ""


def start_thread(count: int) -> Callable[[], None]:
    """What each of `count` threads does first.

    They begin at once: on a busy machine the first would be done before the last is there. And each sets its number
    of threads: torch hands it to a new thread only when something in that thread asks for it.
    """
    threads, barrier = torch.get_num_threads(), Barrier(count)

    def begin() -> None:
        torch.set_num_threads(threads)
        barrier.wait()

    return begin


def same_numbers(ours: Tensor, other: Tensor, ours_double: Tensor, other_double: Tensor) -> bool:
    """Whether two runs agree as two implementations must: the same function, and as precise."""
    if compare_double(ours_double, other_double, bound=_DOUBLE).verdict.failed:
        return False
    found = compare(ours, other, other_double)
    return not found.verdict.failed or undecided(found)


def _same(a: Any, b: Any) -> bool:
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return all(not isinstance(one, Tensor) or equal(one, other) for one, other in pairs)


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _moved(value: Any, by: int) -> Any:
    """The same values in the same order of memory, so many elements behind the start of their storage."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
        return value
    last = sum((size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True))
    storage = torch.empty(last + 1 + by, dtype=value.dtype)
    view = storage.as_strided(value.shape, value.stride(), by)
    view.copy_(value)
    return view
