"""Each layer or block of a model alone in a lower precision: what that does to the model's outputs.

It is computed in torch, so that it holds for any runtime: bf16 runs the module on weights and inputs that are rounded
to bfloat16, and rounds what comes out; int8 rounds weights to 255 steps for each output channel and inputs to 255 steps
between the least and the largest value that the pictures give, as quantizing runtimes do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.engines.finding import parts_of
from samblocks.engines.verify import EngineVerdict, figures, in_eager, outputs_of
from samblocks.swap.short_drive import as_images, made_up, short_drive

_LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
"""The layers that runtimes quantize."""


@dataclass(frozen=True)
class Effect:
    """What one module in a lower precision does.

    Args:
        path: of the module.
        kind: its class.
        ratio: the largest R of an output.
        flipped: pixels that flip, of `pixels`.
        pixels: see there.
        iou: mean overlap of masks with those of float32.
        score: the largest change of a score.
    """

    path: str
    kind: str
    ratio: float
    flipped: int
    pixels: int
    iou: float | None
    score: float | None


def effects(
    model: nn.Module, precision: str, by: str, pictures: Sequence[Any], only: str = ""
) -> Iterator[Effect]:
    """One module after the other.

    Args:
        model: with a way of its own from pictures to masks.
        precision: "bf16" or "int8".
        by: "layer" for single layers, "block" for the blocks that stacks consist of and for what lies beside them.
        pictures: paths or arrays; a made-up one if there are none.
        only: those whose paths begin with this.
    """
    drive = short_drive(model, scores=True)
    assert drive is not None
    images = [as_images(picture, model) for picture in pictures] or [made_up(model)]
    with torch.no_grad():
        eager = [in_eager(drive, model, x) for x in images]
        for path, module in chosen(model, by):
            if not path.startswith(only):
                continue
            layers = [part for part in module.modules() if isinstance(part, _LAYERS)]
            with rounded(layers, precision, lambda: [drive(model, x) for x in images]):
                found = [outputs_of(drive(model, x)) for x in images]
            rows = [
                row for engine, plain in zip(found, eager, strict=True) for row in figures(engine, *plain)
            ]
            all_of = EngineVerdict(tuple(rows), precision, 0.95)
            yield Effect(
                path,
                type(module).__name__,
                all_of.ratio,
                all_of.flipped,
                all_of.pixels,
                all_of.iou,
                all_of.score,
            )


def ranked(found: Sequence[Effect]) -> list[Effect]:
    """The worst first: by pixels that flip, then by R."""
    return sorted(found, key=lambda effect: (-effect.flipped, -effect.ratio))


def chosen(model: nn.Module, by: str) -> list[tuple[str, nn.Module]]:
    """The modules that are looked at, within the parts that run in an engine."""
    found: list[tuple[str, nn.Module]] = []
    for part in parts_of(model):
        if by == "layer":
            found += [
                (_joined(part.path, path), x)
                for path, x in part.module.named_modules()
                if isinstance(x, _LAYERS)
            ]
        else:
            found += [(_joined(part.path, path), x) for path, x in _blocks(part.module)]
    return found


def _blocks(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The members of lists, and of what is in none the children; only such as hold a layer."""
    for name, child in module.named_children():
        if not any(isinstance(part, _LAYERS) for part in child.modules()):
            continue
        inner = [x for x in child.modules() if isinstance(x, nn.ModuleList)]
        if isinstance(child, nn.ModuleList) or (inner and not isinstance(child, _LAYERS)):
            yield from ((f"{name}.{path}", block) for path, block in _blocks(child))
        else:
            yield name, child


@contextmanager
def rounded(layers: Sequence[nn.Module], precision: str, run: Callable[[], object]) -> Iterator[None]:
    """Let layers compute in a lower precision inside a with block; their weights are back afterwards.

    Args:
        layers: linear layers and convolutions.
        precision: "bf16" or "int8".
        run: calls the model, for the ranges of inputs in int8.
    """
    weights = [layer.weight for layer in layers]
    ranges = _ranges(layers, run) if precision == "int8" else {}
    hooks = []
    try:
        for layer in layers:
            weight: Any = layer.weight
            axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            narrow = _bf16(weight) if precision == "bf16" else _int8_weight(weight, axis)
            layer.weight = nn.Parameter(narrow, requires_grad=False)
            before = _bf16_inputs if precision == "bf16" else _int8_inputs(*ranges.get(id(layer), (0.0, 0.0)))
            hooks.append(layer.register_forward_pre_hook(before))
            if precision == "bf16":
                hooks.append(layer.register_forward_hook(lambda layer, inputs, output: _bf16(output)))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, found in zip(layers, weights, strict=True):
            layer.weight = found


def _ranges(layers: Sequence[nn.Module], run: Callable[[], object]) -> dict[int, tuple[float, float]]:
    found: dict[int, tuple[float, float]] = {}

    def watch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        low, high = found.get(id(layer), (0.0, 0.0))
        found[id(layer)] = min(low, float(inputs[0].min())), max(high, float(inputs[0].max()))

    hooks = [layer.register_forward_pre_hook(watch) for layer in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _bf16(x: Tensor) -> Tensor:
    return x.detach().bfloat16().to(x.dtype)


def _bf16_inputs(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(map(_bf16, inputs))


def _int8_weight(weight: Tensor, axis: int) -> Tensor:
    others = [place for place in range(weight.dim()) if place != axis]
    step = weight.detach().abs().amax(dim=others, keepdim=True).clamp(min=1e-30) / 127
    return (weight.detach() / step).round() * step


def _int8_inputs(low: float, high: float) -> Callable[..., tuple[Tensor, ...]]:
    step = max(high - low, 1e-30) / 255
    zero = round(low / step)

    def narrow(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(((x / step).round().clamp(zero, zero + 255)) * step for x in inputs)

    return narrow


def _joined(start: str, path: str) -> str:
    return f"{start}.{path}" if start and path else start or path
