"""Following a host's order of operations, so that a swap changes no bit where that is possible.

Norms of maps are fused in some libraries and computed in two passes in others; attention is the fused kernel's or
written out. Which it is follows from the host's own modules: each is asked once for a few numbers, and our module
takes the implementation that gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.blocks import Attention, LayerNorm2d, REAttention, RoPEAttention
from samblocks.models import FpnNeck, PromptEncoder
from samblocks.models.tiny_vit.blocks import Attention as TinyViTAttention
from samblocks.ops.fast_path import plain_paths
from samblocks.swap.catalog import counterpart, library_of

_Probe = Callable[[Any, Callable[..., Tensor]], tuple[Tensor, ...]]

_known: dict[tuple[type, torch.dtype, str], object] = {}
"""The implementation found for a host's class, dtype and kind of device."""

_ASSUMED: dict[tuple[str, str], object] = {
    ("segment_anything", "LayerNorm2d"): True,
    ("segment_anything", "Attention"): "divide",
    ("segment_anything", "REAttention"): "scale_queries",
    ("sam2", "LayerNorm2d"): True,
    ("ultralytics", "Attention"): "divide",
    ("ultralytics", "REAttention"): "scale_queries",
    ("ultralytics", "TinyViTAttention"): "scale_scores",
}
"""What the pinned versions do, for where asking gives no answer: no values yet, or someone listens."""


def follow(pairs: Iterable[tuple[nn.Module, nn.Module]]) -> None:
    """Let our modules compute in the order of operations of the host's.

    Args:
        pairs: each of our modules within it and the host's module that it stands for.
    """
    for module, host in pairs:
        if isinstance(module, FpnNeck):
            module.widens_top_down = library_of(host) == "sam2"
        elif isinstance(module, PromptEncoder):
            module.rounds_points = library_of(host) in ("segment_anything", "ultralytics")
            module.rounds_corners = True
        elif isinstance(module, LayerNorm2d):
            _choose(module, host, "in_steps", (False, True), _map_probe)
        elif isinstance(module, RoPEAttention) or library_of(host) == "transformers":
            continue  # every library uses the fused kernel there; transformers says what it does elsewhere
        elif isinstance(module, Attention):
            _choose(module, host, "implementation", ("fused", "divide", "scale_scores"), _token_probe)
        elif isinstance(module, REAttention):
            _choose(module, host, "implementation", ("fused", "scale_queries"), _grid_probe)
        elif isinstance(module, TinyViTAttention):
            _choose(module, host, "implementation", ("fused", "scale_scores"), _window_probe)


def _choose(
    ours: nn.Module, host: nn.Module, attribute: str, choices: tuple[object, ...], probe: _Probe
) -> None:
    found = counterpart(host)
    choice = _ASSUMED.get((library_of(host), found.target), choices[0]) if found else choices[0]
    weight = next(chain(host.parameters(), host.buffers()), None)
    if weight is not None:  # quantized layers hold theirs elsewhere
        key = (type(host), weight.dtype, weight.device.type)
        if key not in _known and weight.device.type != "meta" and not _observed(host):
            match = _matching(ours, host, attribute, choices, probe, weight)
            if match is not None:
                _known[key] = match
        choice = _known.get(key, choice)
    setattr(ours, attribute, choice)


def _matching(
    ours: nn.Module,
    host: nn.Module,
    attribute: str,
    choices: tuple[object, ...],
    probe: _Probe,
    weight: Tensor,
) -> object | None:
    """The one choice that gives the host's bits; None if none or several do."""

    def draw(*shape: int) -> Tensor:
        # As plain arithmetic, so that no random generator is touched.
        values = torch.arange(1, 1 + int(torch.tensor(shape).prod()), dtype=torch.float64)
        return ((values * 0.7548776662466927) % 1 * 4 - 2).reshape(shape).to(weight)

    flags = [(module, module.training) for module in (*host.modules(), *ours.modules())]
    for module, _ in flags:
        module.training = False
    try:
        with torch.no_grad(), plain_paths():
            inputs = probe(host, draw)
            expected = host.forward(*inputs)
            found = []
            for choice in choices:
                setattr(ours, attribute, choice)
                if torch.equal(ours(*inputs), expected):
                    found.append(choice)
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return None  # not what its class promises; the run will say so
    finally:
        for module, training in flags:
            module.training = training
    return found[0] if len(found) == 1 else None


def _observed(host: nn.Module) -> bool:
    """Whether someone would notice a call: hooks, or layers that are not torch's own."""
    return any(
        module._forward_hooks or module._forward_pre_hooks or not _plain(module, host)
        for module in host.modules()
    )


def _plain(module: nn.Module, host: nn.Module) -> bool:
    return module is host or type(module).__module__.startswith("torch.nn.modules.")


def _map_probe(host: Any, draw: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    return (draw(2, next(host.parameters()).shape[0], 5, 3),)


def _token_probe(host: Any, draw: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    width, kv_width = host.q_proj.in_features, host.k_proj.in_features
    keys = draw(2, 40, kv_width)
    return draw(2, 24, width), keys, keys.flip(1)


def _grid_probe(host: Any, draw: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    return (draw(1, 5, 6, host.qkv.in_features),)


def _window_probe(host: Any, draw: Callable[..., Tensor]) -> tuple[Tensor, ...]:
    return (draw(2, host.attention_bias_idxs.shape[0], host.qkv.in_features),)
