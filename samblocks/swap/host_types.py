"""Modules of ours whose class derives from the host's as well, where hosts ask for their own class.

Meta and Ultralytics ask whether an attention is their `RoPEAttention` before they pass the number of keys without a
position; transformers asks which modules can be configured and recorded. Our class comes first among the bases, so
that what runs is ours; the host's class is not changed. Submodules of what stands in for transformers' modules are
found under its names as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from samblocks.blocks import RoPEAttention
from samblocks.swap.adopt import Slot, add_attributes, submodule
from samblocks.swap.aliases import Aliased, Aliases, aliases, as_members, host_paths, same_parts
from samblocks.swap.catalog import counterpart, library_of


def derive_from_host(ours: nn.Module, host: nn.Module, slots: Sequence[Slot]) -> None:
    """Make our module, or the rotary attention within it, an instance of the host's class where hosts ask for it.

    Args:
        ours: the module that was filled from the host's, changed in place.
        host: the host's module.
        slots: what was filled.
    """
    if library_of(host) == "transformers":
        _as_transformers(ours, host, same_parts(slots))
        return
    for path, module in ours.named_modules():
        found = submodule(host, path)
        if found is not None and (type(module) is RoPEAttention or _knows_more(found, module)):
            module.__class__ = host_subclass((type(module), type(found)))


def _knows_more(host: nn.Module, ours: nn.Module) -> bool:
    """Whether a host's class of the catalogue has public methods that ours lacks: a trunk numbers its layers."""
    if counterpart(host) is None or counterpart(ours) is not None:
        return False
    return any(not name.startswith("_") and not hasattr(ours, name) for name in dir(type(host)))


def _as_transformers(ours: nn.Module, host: nn.Module, parts: Mapping[str, str]) -> None:
    names = aliases(ours, parts)
    for theirs, path in sorted(parts.items(), key=lambda pair: len(pair[1]), reverse=True):
        module, found = submodule(ours, path), submodule(host, theirs)
        if module is None or found is None or module is found or counterpart(module) is not None:
            continue
        if theirs:
            add_attributes(module, found)
        bases: tuple[type, ...] = (Aliased, type(module))
        if not theirs or any(kind.__name__ == "PreTrainedModel" for kind in type(found).__mro__):
            bases += (type(found),)
        if len(bases) > 2 or path in names:
            module.__class__ = host_subclass(bases, names.get(path, ()))
    vars(ours)["_host_paths"] = host_paths(ours, parts)


_made: dict[tuple[tuple[type, ...], Aliases], Any] = {}


def host_subclass(kinds: tuple[type, ...], names: Aliases = ()) -> Any:
    """The class that derives from ours and from the host's, under the name of ours.

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
    """Copy and pickle by its bases: a class made here cannot be imported."""
    return _revive, type(self)._recipe, vars(self)


def _revive(kinds: tuple[type, ...], names: Aliases) -> object:
    kind = host_subclass(kinds, names)
    made: object = kind.__new__(kind)
    return made
