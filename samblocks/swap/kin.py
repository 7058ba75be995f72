"""Modules of ours that pass for the host's.

Some hosts ask for their own class: Meta and Ultralytics, whether an attention is their `RoPEAttention`, before they
tell it how many keys have no place in the image; transformers, which modules can be configured and recorded. There
the class of ours derives from the host's too. Ours comes first, so that what runs is ours; the host's class itself is
not touched.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from samblocks.blocks import RoPEAttention
from samblocks.swap.adopt import at


def as_kin(ours: nn.Module, host: nn.Module) -> None:
    """Let our module, or the rotary attention within it, pass for the host's where hosts ask.

    Args:
        ours: the module that was filled from the host's, changed in place.
        host: the host's module.
    """
    if type(host).__module__.startswith("transformers."):
        ours.__class__ = kin(type(ours), type(host))
        return
    for path, module in ours.named_modules():
        found = at(host, path)
        if type(module) is RoPEAttention and found is not None:
            module.__class__ = kin(RoPEAttention, type(found))


_made: dict[tuple[type, type], Any] = {}


def kin(ours: type, host: type) -> Any:
    """The class that derives from both."""
    if (ours, host) not in _made:
        members = {"__doc__": ours.__doc__, "__reduce_ex__": _reduce, "__module__": ours.__module__}
        _made[ours, host] = type(ours.__name__, (ours, host), members)
    return _made[ours, host]


def our_name(kind: type) -> str:
    """The class of ours that a module is, as one imports it from blocks or models."""
    for base in kind.__mro__:
        package = ".".join(base.__module__.split(".")[:2])
        if package in ("samblocks.blocks", "samblocks.models"):
            return f"{package}.{base.__name__}"
    return kind.__name__


def _reduce(self: Any, protocol: object) -> tuple[Any, ...]:
    """Copy and pickle by the two classes: the joint one has no place to be imported from."""
    return _revive, type(self).__bases__, vars(self)


def _revive(ours: type, host: type) -> object:
    joint = kin(ours, host)
    made: object = joint.__new__(joint)
    return made
