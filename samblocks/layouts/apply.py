"""Carrying a plan out on values, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from samblocks.errors import LayoutError
from samblocks.layouts.operations import Agree, Axes, Copies, Drop, Make, Operation, Pack, Unpack
from samblocks.layouts.steps import Plan, Step
from samblocks.layouts.tensors import TORCH_DTYPES


def apply(plan: Plan, get: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Carry a plan out, holding the tensors of one step at a time.

    Args:
        plan: what `samblocks.layouts.plan` gave.
        get: gives a tensor of the file by its name; it is called once per name, and never for what is
            dropped or unexplained.

    Yields:
        name and value in the target layout, in the plan's order. Values share memory with what `get` gave
        wherever nothing had to be copied.

    Raises:
        LayoutError: copies of one tensor differ, or a tensor has not the shape that the plan was made for.

    >>> import torch
    >>> from samblocks.layouts import TensorInfo, plan
    >>> name = "image_encoder.blocks.0.mlp.lin1.bias"
    >>> steps = plan({name: TensorInfo((3072,))}, source="meta", target="timm", variant="sam_vit_b")
    >>> [(key, value.shape) for key, value in apply(steps, {name: torch.zeros(3072)}.__getitem__)]
    [('blocks.0.mlp.fc1.bias', torch.Size([3072]))]
    """
    for step in plan.steps:
        if step.targets:
            yield from _run(step, get)


def _run(step: Step, get: Callable[[str], Tensor]) -> Iterator[tuple[str, Tensor]]:
    held = {key: get(key) for key in step.sources}
    for move in step.moves:
        results = _operate(move.operation, [held[key] for key in move.inputs], move.inputs)
        held.update(zip(move.outputs, results, strict=True))
    for key in step.targets:
        yield key, held[key]


def _operate(operation: Operation, inputs: list[Tensor], names: Sequence[str]) -> list[Tensor]:
    """The values after one operation."""
    if isinstance(operation, Axes):
        return [_axes(operation, inputs[0], names[0])]
    if isinstance(operation, Pack):
        return [torch.cat(inputs)]
    if isinstance(operation, Unpack):
        return [part.clone() for part in inputs[0].chunk(operation.count)]
    if isinstance(operation, Copies):
        return [inputs[0], *(inputs[0].clone() for _ in range(operation.count - 1))]
    if isinstance(operation, Agree):
        return [_agreed(inputs, names)]
    if isinstance(operation, Make):
        return [_made(operation)]
    if isinstance(operation, Drop):
        return []
    return inputs


def _axes(operation: Axes, value: Tensor, name: str) -> Tensor:
    words = operation.before.split()
    if value.dim() != len(words):
        raise LayoutError(f"{name} has {value.dim()} axes, the plan was made for {operation.before!r}")
    named = value.reshape([size for word, size in zip(words, value.shape, strict=True) if word != "1"])
    turned = iter(named.permute(operation.order).shape)
    shape = [1 if word == "1" else next(turned) for word in operation.after.split()]
    return named.permute(operation.order).reshape(shape)


def _agreed(inputs: list[Tensor], names: Sequence[str]) -> Tensor:
    """The first of several tensors, all of which must have the same bits."""
    first = inputs[0]
    for value, name in zip(inputs[1:], names[1:], strict=True):
        same = value.dtype == first.dtype and value.shape == first.shape
        if not (same and torch.equal(_bits(value), _bits(first))):
            raise LayoutError(f"{names[0]} and {name} must be copies of one tensor, but their values differ")
    return first


def _bits(value: Tensor) -> Tensor:
    return value.detach().contiguous().view(torch.uint8)


def _made(operation: Make) -> Tensor:
    if operation.fill == "bytes":
        return torch.frombuffer(bytearray(operation.data), dtype=torch.uint8)
    make = torch.ones if operation.fill == "ones" else torch.zeros
    return make(operation.info.shape, dtype=TORCH_DTYPES[operation.info.dtype])
