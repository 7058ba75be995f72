"""Graphs compiled by torch itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from samblocks.engines.parts import Graph


class CompiledRunner:
    """A compiled function on tensors."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Run it, without gradients."""
        with torch.no_grad():
            return list(self._function(*tensors))


def compiled(graph: Graph, example: tuple[Tensor, ...]) -> CompiledRunner:
    """A graph compiled by torch's own compiler, run once so that it fails now or never."""
    free = any(graph.inputs.values())
    runner = CompiledRunner(torch.compile(graph.module, dynamic=True if free else None))
    runner(example)
    return runner
