"""Tables of positions, resized once in eager: a graph has the result as a constant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from samblocks.engines.parts import Graph
from samblocks.ops.fast_path import plain_paths

_MODES = ("bicubic", "linear")
"""How tables are resized; maps, which are no constants, are resized in other ways."""


class _Resizing(TorchFunctionMode):
    """Keeps what tables were resized to, or answers with what was kept, in the order of the calls."""

    def __init__(self, kept: list[Tensor], *, answers: bool) -> None:
        super().__init__()
        self._kept, self._place = kept, 0 if answers else None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if func is not functional.interpolate or given.get("mode") not in _MODES:
            return func(*args, **given)
        if self._place is None:
            self._kept.append(func(*args, **given))
            return self._kept[-1]
        self._place += 1
        return self._kept[self._place - 1]


@contextmanager
def constant_tables(graph: Graph, example: tuple[Tensor, ...]) -> Iterator[None]:
    """While the with block lasts, tracing a graph on the example takes its resized tables as constants.

    A runtime would resize them in every call, and with coordinates in float32: the table of a Hiera of width 8 had 2.5
    times eager's error in OpenVINO. The graph is run once, which makes every other table that a trace could take for
    something to compute.

    Args:
        graph: what is traced.
        example: what it is traced with; gradients are off.
    """
    kept: list[Tensor] = []
    with plain_paths(), _Resizing(kept, answers=False):  # as a trace, which takes no fast path
        graph.module(*example)
    with _Resizing(kept, answers=True):
        yield
