"""What the readers of host modules have in common: making our module without values, reading sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import nn

from samblocks.errors import SwapError
from samblocks.models.skeleton import NoDraws
from samblocks.swap.catalog import counterpart, qualified

Reader = Callable[[Any], nn.Module]
"""Makes our counterpart of a host's module, on the meta device, from the module's attributes and shapes."""

READERS: dict[str, Reader] = {}
"""The readers by what they make, as the catalogue names it."""

FROM_WEIGHTS: dict[str, Callable[[Any], None]] = {}
"""By the same names, for hosts that keep something computed from their weights: computes it anew."""

FROM_SETTINGS: dict[str, Callable[[Any], None]] = {}
"""The same for hosts that keep tables computed from their settings alone."""

Made = TypeVar("Made", bound=nn.Module)


def reader(target: str) -> Callable[[Reader], Reader]:
    """Enter a function into `READERS`."""

    def enter(function: Reader) -> Reader:
        READERS[target] = function
        return function

    return enter


def renew(module: nn.Module, *, tables: bool = False) -> None:
    """Compute anew what a host's module keeps beside its weights, which may have changed; most keep nothing.

    Args:
        module: of a class of the catalogue, or any other, for which nothing is done.
        tables: also what follows from settings alone, because the precision has changed.
    """
    found = counterpart(module)
    for known in (FROM_WEIGHTS, FROM_SETTINGS) if tables else (FROM_WEIGHTS,):
        if found is not None and found.target in known:
            known[found.target](module)


def read(module: nn.Module) -> nn.Module:
    """Make our counterpart of a host's module, without values.

    Raises:
        SwapError: its class has none, or it is built in a way that ours cannot be.
    """
    found = counterpart(module)
    if found is None:
        raise SwapError(f"{qualified(type(module))} has no counterpart")
    try:
        return READERS[found.target](module)
    except SwapError:
        raise
    except Exception as error:  # whatever a host's module lacks, it is then kept, and this is why
        raise SwapError(f"its settings cannot be read: {type(error).__name__}: {error}") from error


def made(make: Callable[..., Made], *args: Any, **kwargs: Any) -> Made:
    """Call a class without values being computed: on the meta device, nothing drawn."""
    with torch.device("meta"), NoDraws():
        return make(*args, **kwargs)


def sizes(layer: Any) -> tuple[int, int]:
    """(in, out) of a linear layer, or of an adapter or a quantized layer in its place.

    Raises:
        SwapError: the layer does not say.
    """
    try:
        return int(layer.in_features), int(layer.out_features)
    except AttributeError:
        raise SwapError(
            f"a {type(layer).__name__} stands where a linear layer is expected, and it has no in_features"
        ) from None


def channels(norm: Any) -> int:
    """Channels of a norm.

    Raises:
        SwapError: it has no weight of one axis.
    """
    weight = getattr(norm, "weight", None)
    if weight is None or weight.dim() != 1:
        raise SwapError(
            f"a {type(norm).__name__} without a weight per channel stands where a norm is expected"
        )
    return int(weight.shape[0])


def drop_rate(drop_path: Any) -> float:
    """The rate of a drop path module, 0 of an identity."""
    return float(getattr(drop_path, "drop_prob", None) or 0.0)


def multimask_outputs(decoder: Any) -> int:
    """How many masks a decoder gives for an ambiguous prompt.

    Raises:
        SwapError: it counts its tokens otherwise.
    """
    outputs = int(decoder.num_multimask_outputs)
    counted = getattr(decoder, "num_mask_tokens", outputs + 1)
    if counted != outputs + 1:
        raise SwapError(f"its num_mask_tokens is {counted}, and its num_multimask_outputs {outputs}")
    return outputs


def side(table: Any) -> int:
    """How many places a table of relative positions was made for."""
    return (int(table.shape[0]) + 1) // 2


def check_settings(pairs: Iterable[tuple[nn.Module, nn.Module]], *, copied: bool) -> None:
    """Hold ours against each part of a host's module as it is by itself: somebody may have changed one.

    Args:
        pairs: each of our modules, as it was made for what is around it, and the host's that it stands for.
        copied: whether attributes of the same name take the host's value anyway.

    Raises:
        SwapError: a part has a setting that it would not have there.
    """
    for ours, host in pairs:
        if counterpart(host) is None:
            continue
        alone = read(host)
        taken = vars(host).keys() if copied else set()
        for name in _settings(alone).keys() & _settings(ours).keys() - taken:
            is_one, would_be = getattr(alone, name), getattr(ours, name)
            if is_one != would_be:
                raise SwapError(
                    f"the {name} of a {type(host).__name__} in it is {is_one!r}, and not {would_be!r} as what is "
                    "around it makes one expect"
                )


def _settings(module: nn.Module) -> dict[str, object]:
    return {name: value for name, value in vars(module).items() if _is_setting(name, value)}


def _is_setting(name: str, value: object) -> bool:
    if isinstance(value, tuple):
        return all(_is_setting(name, part) for part in value)
    return not name.startswith("_") and name != "training" and isinstance(value, bool | int | float)
