"""One run of a callable: on copies of its inputs, from a given random state, with gradients where asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from parity.errors import UsageError
from parity.execution import fill
from parity.testing.reach import Twin
from parity.testing.values import Inputs, arguments, copies, mapped, outputs_in, precision, tensors
from samblocks.numerics.repeats import generators, random_state
from samblocks.numerics.verdict import equal

OF_INPUTS, OF_PARAMETERS = "gradient/", "gradient of "
"""How the names of gradients begin."""

STATE = "state/"
"""How the names of buffers begin that a call changed."""


@dataclass(frozen=True)
class Ask:
    """What is asked of every run of a check.

    Attributes:
        gradients: also the gradients of the inputs; "all" for those of the parameters too.
        seed: of every run; None where runs must not depend on it.
    """

    gradients: bool | str = False
    seed: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
        outputs: by path.
        changed: whether the inputs were changed.
        drew: whether random numbers were drawn.
        moved: buffers that the run changed, as they are after it, by name.
    """

    outputs: dict[str, Tensor]
    changed: bool = False
    drew: bool = False
    moved: Mapping[str, Tensor] = field(default_factory=dict)


def run(twin: Twin, inputs: Inputs, ask: Ask, seed: int, *, narrow: torch.dtype | None = None) -> Outcome:
    """Run a callable once.

    Args:
        twin: what to run; it may change.
        inputs: what on; they stay.
        ask: what is asked for.
        seed: of the random numbers, where `ask` fixes none.
        narrow: the precision of Python's own numbers; by default that of the inputs.
    """
    given = copies(inputs)
    before = {name: value.detach().clone() for name, value in twin.buffers()}
    with random_state(ask.seed if ask.seed is not None else seed):
        state = generators()
        outputs = _called(twin, given, ask.gradients, narrow or precision(inputs))
        drew = generators() != state
    moved = {
        name: value.detach().cpu().clone()
        for name, value in twin.buffers()
        if name not in before or value.shape != before[name].shape or not equal(value, before[name])
    }
    return Outcome(outputs, not _same(inputs, given), drew, moved)


def _called(twin: Twin, given: Inputs, gradients: bool | str, real: torch.dtype) -> dict[str, Tensor]:
    leaves = [
        leaf for _, leaf in tensors(given, arrays=False) if leaf.is_floating_point() or leaf.is_complex()
    ]
    named = list(twin.parameters()) if gradients == "all" else []
    weights = {name: value for name, value in named if value.is_floating_point() or value.is_complex()}
    flags = {name: value.requires_grad for name, value in weights.items()}
    with torch.set_grad_enabled(bool(gradients)):
        if gradients:
            for leaf in (*leaves, *weights.values()):
                leaf.requires_grad_(True)
        # A change in place of a leaf that needs a gradient would raise: the function gets what hangs on it.
        positional, keywords = mapped(
            arguments(given), lambda _, value: value + 0 if value.requires_grad else value, arrays=False
        )
        outputs = dict(outputs_in(twin.function(*positional, **keywords), real))
    if gradients:
        outputs |= _slopes(outputs, leaves, weights)
        for name, value in weights.items():
            value.requires_grad_(flags[name])
    # Judged where float64 is known to be: not every device has it.
    return {name: value.detach().cpu() for name, value in outputs.items()}


def _slopes(
    outputs: Mapping[str, Tensor], leaves: list[Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Gradients of all outputs at once, weighted by noise; zero where nothing depends on a leaf."""
    wanted = [*leaves, *weights.values()]
    if not wanted:
        raise UsageError("gradients: there is no floating-point input, and no parameter, to differentiate by")
    total = total_of(outputs)
    found = [None] * len(wanted) if total is None else torch.autograd.grad(total, wanted, allow_unused=True)
    slopes = [torch.zeros_like(leaf) if one is None else one for leaf, one in zip(wanted, found, strict=True)]
    names = [f"{OF_INPUTS}{place}" for place in range(len(leaves))] + [
        OF_PARAMETERS + name for name in weights
    ]
    return dict(zip(names, slopes, strict=True))


def total_of(outputs: Mapping[str, Tensor]) -> Tensor | None:
    """One number that depends on every element of every output that has a gradient; None where none has."""
    total: Tensor | None = None
    for name, value in outputs.items():
        if value.requires_grad:
            real = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
            part = (real * _noise(name, real)).sum()
            total = part if total is None else total + part
    return total


def _noise(name: str, like: Tensor) -> Tensor:
    """Weights of few bits, which every type holds exactly."""
    values = np.round(fill.values(f"gradient of {name}", like.shape) * 64) / 64
    return torch.from_numpy(np.asarray(values, np.float64, order="C")).to(like.dtype).to(like.device)


def _same(before: Inputs, after: Inputs) -> bool:
    pairs = zip(tensors(before), tensors(after), strict=True)
    return all(a.shape == b.shape and equal(a, b) for (_, a), (_, b) in pairs)
