"""A copy of a host's model in float64: the truth that errors in the working precision are held against."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from samblocks.numerics.float64 import lifted
from samblocks.swap.hosts.reading import renew

_KEPT_BY_TORCH = frozenset(vars(nn.Module()))


def widened(model: nn.Module) -> nn.Module:
    """A deep copy with every parameter, buffer and plain tensor attribute in float64, complex ones in complex128.

    Tables that a host has computed in its working precision, such as those of rotary attention, are computed anew:
    widened, they would still be rounded, where ours are not.
    """
    twin = copy.deepcopy(model).double()
    for module in twin.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = widen(buffer)
        for name, value in list(vars(module).items()):
            if name not in _KEPT_BY_TORCH and isinstance(value, Tensor | list | tuple | dict):
                vars(module)[name] = tree_map(widen, value)
    with lifted():
        for module in twin.modules():
            renew(module, tables=True)
    return twin


def widen(value: Any) -> Any:
    """A floating-point tensor in float64, a complex one in complex128, anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    if value.is_complex():
        return value.to(torch.complex128)
    return value.double() if value.is_floating_point() else value
