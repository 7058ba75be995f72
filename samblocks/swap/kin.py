"""Rotary attention that its host still recognizes.

Hosts ask whether an attention is their own `RoPEAttention` before they tell it how many keys have no place in the
image. Where ours stands inside a module that stays the host's, its class therefore derives from the host's too: ours
comes first, so that every method is ours. The host's class itself is not touched.
"""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from samblocks.blocks import RoPEAttention
from samblocks.swap.adopt import at


def as_kin(ours: nn.Module, host: nn.Module) -> None:
    """Let rotary attention within our module pass for the host's.

    Args:
        ours: the module that was filled from the host's, changed in place.
        host: the host's module.
    """
    for path, module in ours.named_modules():
        found = at(host, path)
        if type(module) is RoPEAttention and found is not None:
            module.__class__ = _kin(RoPEAttention, type(found))


_made: dict[tuple[type, type], Any] = {}


def _kin(ours: type, host: type) -> Any:
    if (ours, host) not in _made:
        _made[ours, host] = _joint(ours, host)
    return _made[ours, host]


def _joint(ours: type, host: type) -> type:
    members = {"__doc__": ours.__doc__, "__reduce_ex__": _reduce, "__module__": ours.__module__}
    return type(ours.__name__, (ours, host), members)


def _reduce(self: Any, protocol: object) -> tuple[Any, ...]:
    """Pickle by the two classes: the joint one has no place to be imported from."""
    ours, host = type(self).__bases__
    return _revive, (ours, host.__module__, host.__qualname__), vars(self)


def _revive(ours: type, module: str, name: str) -> object:
    __import__(module)
    host: Any = sys.modules[module]
    for part in name.split("."):
        host = getattr(host, part)
    kind = _kin(ours, host)
    made: object = kind.__new__(kind)
    return made
