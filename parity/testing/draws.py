"""Further draws of a check: other inputs, and other weights where they are ours to draw."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from parity.errors import UsageError
from parity.execution import fill
from parity.testing.reach import Function, Twin, is_compiled, twin
from parity.testing.values import Inputs, mapped, tensors
from samblocks.numerics.draws import vary


@dataclass(frozen=True)
class Sides:
    """What a check compares, and on what.

    Attributes:
        candidate: the code under test.
        reference: what it must equal.
        inputs: of both; a function of the draw's number gives them.
    """

    candidate: Function
    reference: Function
    inputs: Inputs | Callable[[int], Inputs]

    @property
    def parts(self) -> tuple[Function, Function, Inputs]:
        """All three."""
        return self.candidate, self.reference, self.inputs


FEW_NUMBERS = 8
"""Numbers that R of a draw is of, at least: an output of fewer is run on as many inputs as make them up."""


def pooled(shapes: Iterable[Sequence[int]]) -> int:
    """On how many inputs outputs of these shapes are run in each draw, whose errors make up one R."""
    fewest = min((max(math.prod(shape), 1) for shape in shapes), default=FEW_NUMBERS)
    return max(1, math.ceil(FEW_NUMBERS / fewest))


def numbers(draw: int, count: int) -> range:
    """The numbers of a draw's inputs, where each draw has so many; draw 0 is the first run."""
    return range((draw - 1) * count + 1, draw * count + 1)


def joined(runs: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The outputs of all inputs of a draw, as one tensor each: those that every run has."""
    names = [name for name in runs[0] if all(name in one for one in runs)]
    return (
        {name: torch.cat([one[name].flatten() for one in runs]) for name in names}
        if len(runs) > 1
        else dict(runs[0])
    )


def drawn_inputs(inputs: Inputs | Callable[[int], Inputs], number: int) -> Inputs:
    """The inputs of a draw: what the function gives, else x · (1 + u / 8); draw 0 is what was given."""
    if callable(inputs) and not isinstance(inputs, nn.Module | Tensor):
        return inputs(number)
    if number == 0:
        return inputs
    return mapped(inputs, lambda path, value: vary(value, f"draw{number}:{path}"))


def another(sides: Sides, number: int, *, fill: bool) -> Sides | None:
    """A further draw; None where nothing varies.

    Args:
        sides: as they were given.
        number: of the draw, from 1.
        fill: whether weights follow from names: they are then drawn anew.
    """
    drawn = replace(sides, inputs=drawn_inputs(sides.inputs, number))
    if fill:
        return filled(drawn, number)
    first = tensors(drawn_inputs(sides.inputs, 0))
    after = tensors(drawn.inputs)
    same = len(first) == len(after) and all(
        a.shape == b.shape and torch.equal(a, b) for (_, a), (_, b) in zip(first, after, strict=True)
    )
    return None if same else drawn


def filled(sides: Sides, number: int) -> Sides:
    """Both sides as copies whose weights follow from the names of their tensors, and from the draw's number.

    Raises:
        UsageError: where a side cannot be copied, or the two differ in the names or shapes of their tensors.
    """
    copies = [
        _copy(name, side) for name, side in (("candidate", sides.candidate), ("reference", sides.reference))
    ]
    shapes = [{name: tuple(value.shape) for name, value in _weights(each)} for each in copies]
    unlike = sorted(set(shapes[0].items()) ^ set(shapes[1].items()))
    if unlike:
        name, shape = unlike[0]
        raise UsageError(
            f"fill=True gives both sides the weights that follow from the names of their tensors, but they differ in "
            f"{len(unlike)} names or shapes, such as {name!r} {list(shape)}; fill them yourself: parity.fill"
        )
    for each in copies:
        with torch.no_grad():
            for name, value in _weights(each):
                if value.is_floating_point():
                    stream = name if number == 0 else f"draw{number}.{name}"
                    value.copy_(torch.from_numpy(fill.values(stream, value.shape)))
    return replace(sides, candidate=copies[0].function, reference=copies[1].function)


def _copy(name: str, side: Function) -> Twin:
    if is_compiled(side):
        raise UsageError(
            f"fill=True fills copies, and the {name} is compiled: fill it yourself, with parity.fill"
        )
    try:
        return twin(side)
    except Exception as failure:  # whatever an object raises that cannot be copied
        raise UsageError(f"fill=True fills copies, but the {name} cannot be copied: {failure}") from None


def _weights(copied: Twin) -> list[tuple[str, Tensor]]:
    return [
        (prefix + name, value)
        for prefix, module in copied.named_modules()
        for name, value in module.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    ]
