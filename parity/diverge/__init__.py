"""Find the module in which two implementations part, with upstream's own inputs put before each of ours.

store     recorded values, each tensor once
taps      every call of every module, and of some methods
align     which module is which in the other tree
replay    a module on recorded arguments
upstream  the side that is right: recorded, and its float64 truths
remote    the same in a worker, and in_worker its other end
locate    error introduced or inherited; the culprits
steps     between which parts of a culprit
semantics names of the diagram's arrows
subjects  what the command can look at
text      the report for people, and the JSON
"""

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from parity.diverge.locate import Comparer, Report
from parity.diverge.store import Store
from parity.diverge.upstream import Upstream, free_run
from samblocks.numerics.float64 import lifted

__all__ = ["Report", "diverge"]


def diverge(
    candidate: nn.Module,
    reference: nn.Module,
    inputs: Tensor | Sequence[Any] | Mapping[str, Any],
    *,
    call: Callable[[nn.Module, Any], object] | None = None,
    build: Callable[[], nn.Module] | None = None,
    canonical: Callable[[str], str] = str,
    bound: float = 2.0,
) -> Report:
    """Compare two models in this process, module by module, each of the candidate's on the reference's input.

    Args:
        candidate: the model under test.
        reference: the model that is right, with the same weights.
        inputs: one tensor, positional arguments, or keyword arguments.
        call: how a model is run on the inputs, where it is not simply called.
        build: makes the reference anew; needed where converting it to float64 leaves narrow tables behind.
        canonical: the candidate's name for a tensor of the reference's state dict; the same by default.
        bound: largest R that a module may introduce.

    Returns:
        The report; true if no module introduces an error.
    """

    def run(module: nn.Module, dtype: torch.dtype) -> object:
        given = tree_map(lambda value: _as(value, dtype), inputs)
        if call is not None:
            return call(module, given)
        if isinstance(given, Tensor):
            return module(given)
        return module(**given) if isinstance(given, Mapping) else module(*given)

    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        store = Store(Path(folder))
        upstream = Upstream(reference, _wide(reference, build), run, store, canonical)
        theirs = upstream.trace()
        own, note = free_run(candidate, run, store)
        wide = partial(_wide, candidate, None)
        return Comparer(candidate, wide, own, theirs, store, upstream, bound=bound, note=note).report()


def _wide(reference: nn.Module, build: Callable[[], nn.Module] | None) -> nn.Module:
    wide = copy.deepcopy(reference).double()
    if build is None:
        return wide
    with lifted():
        made = build()
        made.load_state_dict(wide.state_dict())
    return made.train(reference.training)


def _as(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, Tensor):
        return value
    # One conversion and no more: in a lifted run only that may read what is narrow.
    return value.to(dtype, copy=True) if value.is_floating_point() else value.clone()
