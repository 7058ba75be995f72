"""Modules of ours that pass for the host's.

Some hosts ask for their own class: Meta and Ultralytics, whether an attention is their `RoPEAttention`, before they
tell it how many keys have no place in the image; transformers, which modules can be configured and recorded. There
the class of ours derives from the host's too. Ours comes first, so that what runs is ours; the host's class itself is
not touched. Parts of what stands in for transformers' modules are found under its names as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from samblocks.blocks import RoPEAttention
from samblocks.swap.adopt import Slot, at
from samblocks.swap.aliases import Aliased, Names, aliases, as_members
from samblocks.swap.catalog import library_of


def as_kin(ours: nn.Module, host: nn.Module, slots: Sequence[Slot]) -> None:
    """Let our module, or the rotary attention within it, pass for the host's where hosts ask.

    Args:
        ours: the module that was filled from the host's, changed in place.
        host: the host's module.
        slots: what was filled.
    """
    if library_of(host) == "transformers":
        found_names = aliases(ours, host, slots)
        own = found_names.pop("", ())
        for path, names in found_names.items():
            module = at(ours, path)
            if module is not None:
                module.__class__ = joint((Aliased, type(module)), names)
        ours.__class__ = joint((Aliased, type(ours), type(host)), own)
        return
    for path, module in ours.named_modules():
        found = at(host, path)
        if type(module) is RoPEAttention and found is not None:
            module.__class__ = joint((RoPEAttention, type(found)))


_made: dict[tuple[tuple[type, ...], Names], Any] = {}


def joint(kinds: tuple[type, ...], names: Names = ()) -> Any:
    """The class that derives from several, under the name of ours.

    Args:
        kinds: what it derives from; ours is the first, or the second after `Aliased`.
        names: the host's names of its parts.
    """
    if (kinds, names) not in _made:
        ours = kinds[1] if kinds[0] is Aliased else kinds[0]
        members = {"__doc__": ours.__doc__, "__module__": ours.__module__, "__reduce_ex__": _reduce}
        kind: Any = type(ours.__name__, kinds, members | as_members(names))
        kind._recipe = kinds, names
        _made[kinds, names] = kind
    return _made[kinds, names]


def our_name(kind: type) -> str:
    """The class of ours that a module is, as one imports it from blocks or models."""
    for base in kind.__mro__:
        package = ".".join(base.__module__.split(".")[:2])
        if package in ("samblocks.blocks", "samblocks.models"):
            return f"{package}.{base.__name__}"
    return kind.__name__


def _reduce(self: Any, protocol: object) -> tuple[Any, ...]:
    """Copy and pickle by its classes: the joint one has no place to be imported from."""
    return _revive, type(self)._recipe, vars(self)


def _revive(kinds: tuple[type, ...], names: Names) -> object:
    kind = joint(kinds, names)
    made: object = kind.__new__(kind)
    return made
