"""What the parts of a model are called with on its own way from pictures to masks: for tracing and for calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.engines.parts import Call, Part, Unanswered
from samblocks.errors import EngineError
from samblocks.swap.short_drive import as_images, made_up, short_drive

Samples = dict[str, list[tuple[Tensor, ...]]]
"""Tensors that go through a graph, by its name."""


def record(model: nn.Module, parts: Sequence[Part], pictures: Sequence[Any] = ()) -> Samples:
    """Run a model in eager and keep what goes through the graphs of its parts.

    Args:
        model: one that has a way of its own, see `samblocks.swap`.
        parts: its parts.
        pictures: paths, arrays or PIL pictures; a made-up one where there are none.

    Returns:
        At least one sample for each graph that the way leads through; a graph for one image of many prompts has
        those of the other one, and the other way round.

    Raises:
        EngineError: the model has no way of its own.
    """
    drive = short_drive(model)
    if drive is None:
        raise EngineError(
            f"a {type(model).__name__} has no way of its own from a picture to masks: give the whole model"
        )
    samples: Samples = {name: [] for part in parts for name in part.graphs}
    images = [as_images(picture, model) for picture in pictures] or [made_up(model)]
    called = [part for part in parts if part.made_up() is None]
    with torch.inference_mode(False), torch.no_grad(), _listening(called, samples):
        for image in images:
            drive(model, image)
    for part in parts:
        found = part.made_up()
        if found is not None:
            samples |= {name: [found] for name in part.graphs}
        _fill(part, samples)
    return samples


def doubled(part: Part, graph: str, sample: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """A sample with two of everything that is free in number, so that a trace takes no size for a constant."""
    axes = part.graphs[graph].inputs.values()
    return tuple(_repeated(x, free) for x, free in zip(sample, axes, strict=True))


def _repeated(x: Tensor, axes: Any) -> Tensor:
    for axis in axes:
        x = torch.cat((x, x), dim=axis)
    return x.contiguous()


def _fill(part: Part, samples: Samples) -> None:
    """Give a graph that was not reached a sample of its sister's."""
    reached = [name for name in part.graphs if samples[name]]
    if not reached:
        raise EngineError(
            f"{part.path}: nothing called it on the model's own way, so that nothing can be traced"
        )
    for name, graph in part.graphs.items():
        for sample in () if samples[name] else samples[reached[0]]:
            count = len(sample[0])
            spread = [
                x.expand(count, *x.shape[1:]) if axes.get(0) == "prompts" and len(x) == 1 else x
                for x, axes in zip(sample, graph.inputs.values(), strict=True)
            ]
            samples[name].append(
                tuple(x if axes else x[:1] for x, axes in zip(spread, graph.inputs.values(), strict=True))
            )


@contextmanager
def _listening(parts: Sequence[Part], samples: Samples) -> Iterator[None]:
    """Take every call of the parts apart while the with block lasts."""
    places = [(part, part.base) for part in parts]
    before = [vars(part.module).get("_compiled_call_impl") for part in parts]
    try:
        for part, _ in places:
            part.module._compiled_call_impl = through(part, _recorder(part, samples))
        yield
    finally:
        for part, found in zip(parts, before, strict=True):
            if found is None:
                vars(part.module).pop("_compiled_call_impl", None)
            else:
                part.module._compiled_call_impl = found


def _recorder(part: Part, samples: Samples) -> Callable[..., Any]:
    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            call: Call | None = part.split(*args, **kwargs)
        except Unanswered:
            call = None
        for item in items(part, call) if call is not None else ():
            samples[call.graph].append(tuple(x.detach().clone() for x in item))  # type: ignore[union-attr]
        return part.base.forward(part.module, *args, **kwargs)

    return answer


def items(part: Part, call: Call) -> Iterator[tuple[Tensor, ...]]:
    """What goes through the graph at a time: a call's tensors, or those of each item of its batch."""
    if not part.by_item:
        yield call.tensors
        return
    for place in range(len(call.tensors[0])):
        yield tuple(x[place : place + 1] for x in call.tensors)


def through(part: Part, answer: Callable[..., Any]) -> Callable[..., Any]:
    """A module's call, in which `answer` stands for our class's `forward`.

    What a derived class does around our `forward` is done: it runs on a twin that shares all that the module holds,
    and whose class has the answer between itself and ours.
    """
    module: Any = part.module
    kind: Any = type(module)
    if kind.forward is part.base.forward:
        return answer
    between = type(
        "Answered", (part.base,), {"forward": lambda self, *args, **kwargs: answer(*args, **kwargs)}
    )
    twin: Any = object.__new__(type(kind.__name__, (kind, between), {}))
    object.__setattr__(twin, "__dict__", vars(module))
    call: Callable[..., Any] = twin.forward
    return call
