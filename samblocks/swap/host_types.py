"""Modules of ours whose class derives from the host's as well: `isinstance` goes on working.

Who places hooks, freezes or shards by a host's class finds ours. So do the hosts: Meta and Ultralytics ask whether
an attention is their `RoPEAttention` before they pass the number of keys without a position; transformers asks which
modules can be configured and recorded. Our class comes first among the bases, so that what runs is ours; the host's
class is not changed. Submodules of what stands in for transformers' modules are found under its names as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import FunctionType
from typing import Any

from torch import nn

from samblocks.swap.adopt import Slot, add_attributes, submodule
from samblocks.swap.aliases import Aliased, Aliases, aliases, as_members, host_paths, same_parts
from samblocks.swap.catalog import counterpart, library_of


def derive_from_host(
    ours: nn.Module,
    host: nn.Module,
    slots: Sequence[Slot],
    pairs: Sequence[tuple[nn.Module, nn.Module]],
) -> list[tuple[nn.Module, nn.Module]]:
    """Make our module, and what is in it, instances of the host's classes.

    Args:
        ours: the module that was filled from the host's, changed in place.
        host: the host's module.
        slots: what was filled.
        pairs: each of our modules in it and the host's that it stands for, as far as their tensors tell.

    Returns:
        The pairs, with those that were found now.
    """
    if library_of(host) == "transformers":
        known = {id(module) for module, _ in pairs}
        more = _as_transformers(ours, host, same_parts(slots))
        return [*pairs, *((module, found) for module, found in more if id(module) not in known)]
    for module, found in pairs:
        if _is_another(module, found):
            module.__class__ = host_subclass((type(module), type(found)))
    return list(pairs)


def _is_another(ours: nn.Module, host: nn.Module) -> bool:
    """Whether ours stands for a host's module, rather than being taken over from it.

    It is one of the catalogue, or one of transformers for what is a sequence of layers here.
    """
    sequence = type(ours) is nn.Sequential and library_of(host) == "transformers"
    return (counterpart(host) is not None or sequence) and not isinstance(ours, type(host))


def _as_transformers(
    ours: nn.Module, host: nn.Module, parts: Mapping[str, str]
) -> list[tuple[nn.Module, nn.Module]]:
    made = []
    names = aliases(ours, parts)
    # Of a module in another one, both holding the same tensors, the inner is first.
    everything = {**parts, **_without_tensors(ours, host, parts)}
    for theirs, path in sorted(everything.items(), key=lambda pair: len(pair[1]), reverse=True):
        module, found = submodule(ours, path), submodule(host, theirs)
        if module is None or found is None or module is found or counterpart(module) is not None:
            continue
        if theirs:
            add_attributes(module, found)
        bases: tuple[type, ...] = (Aliased, type(module))
        if not theirs or _is_another(module, found):
            bases += (type(found),)
            made.append((module, found))
        if len(bases) > 2 or path in names:
            module.__class__ = host_subclass(bases, names.get(path, ()))
    vars(ours)["_host_paths"] = host_paths(ours, parts)
    return made


def _without_tensors(ours: nn.Module, host: nn.Module, parts: Mapping[str, str]) -> dict[str, str]:
    """Parts that hold none, such as a sine encoding, by their names in parts that are known: host's path → ours."""
    found = {}
    for path, module in host.named_modules():
        before, _, name = path.rpartition(".")
        if path in parts or before not in parts or counterpart(module) is None:
            continue
        place = f"{parts[before]}.{name}".lstrip(".")
        if submodule(ours, place) is not None:
            found[path] = place
    return found


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
        kind: Any = type(ours.__name__, kinds, members | _of_torch(kinds) | as_members(names))
        kind._recipe = kinds, names
        _made[kinds, names] = kind
    return _made[kinds, names]


def _of_torch(kinds: tuple[type, ...]) -> dict[str, Any]:
    """What `nn.Module` does and a host's class does otherwise: ours does as torch does.

    TinyViT's attention in Ultralytics gathers tables in `train`, which ours has no use for. What can be configured
    in transformers is left as it is there.
    """
    host = kinds[-1]
    if kinds[0] is Aliased:
        return {}
    ours = kinds[0]
    names = [name for name, value in vars(nn.Module).items() if isinstance(value, FunctionType)]
    return {
        name: getattr(ours, name)
        for name in names
        if name != "__init__" and getattr(host, name) is not getattr(nn.Module, name)
    }


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
