"""Our module takes over what a host's module holds: leaves, parameters, buffers, flags, plain attributes.

Nothing is copied. Leaves of torch (linears, convolutions, norms, activations), and whatever adapters or
quantized layers stand in their place, become children of ours as the objects they are; parameters and buffers
that a host's class holds itself are entered under our names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.errors import SwapError
from samblocks.swap.catalog import counterpart, qualified

HostName = Callable[[str], str]
"""From the name of a tensor in our module to its name in the host's."""

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Slot:
    """One place that was filled: where, in our module and in the host's.

    Args:
        kind: "_modules", "_parameters" or "_buffers" on our side.
        ours: our module that holds it.
        name: its name there.
        host_kind: the same on the host's side, where a buffer may be a parameter.
        host: the host's module that holds it.
        host_name: its name there.
        our_path: all of its name in our module.
        host_path: all of its name in the host's.
    """

    kind: str
    ours: nn.Module
    name: str
    host_kind: str
    host: nn.Module
    host_name: str
    our_path: str
    host_path: str

    def give_back(self) -> None:
        """Let the host's module hold what ours holds by now."""
        now = getattr(self.ours, self.kind).get(self.name)
        held = getattr(self.host, self.host_kind)
        if now is not None and held.get(self.host_name) is not now:
            held[self.host_name] = now

    def take(self) -> None:
        """Let ours hold what the host's module holds by now."""
        now = getattr(self.host, self.host_kind).get(self.host_name)
        if now is not None:
            getattr(self.ours, self.kind)[self.name] = now


def same(name: str) -> str:
    """The names of both are alike."""
    return name


def adopt(ours: nn.Module, host: nn.Module, names: HostName = same) -> list[Slot]:
    """Fill our module, made without values, with what the host's module holds.

    Args:
        ours: our module, changed in place.
        host: the host's module, left as it is.
        names: what our tensors are called there.

    Returns:
        Every place that was filled.

    Raises:
        SwapError: the host lacks something that ours needs, or holds something that ours has no place for.
    """
    pairs = counterparts(ours, host, names)
    slots = [*_leaves(ours, host, names), *_tensors(ours, host, names)]
    copy_training(ours, host, pairs)
    for module, found in pairs if names is same else pairs[:1]:
        _attributes(module, found)
    _check(ours, host)
    return slots


def counterparts(
    ours: nn.Module, host: nn.Module, names: HostName = same
) -> list[tuple[nn.Module, nn.Module]]:
    """Our modules and the host's that they stand for: by path, or by the tensors they hold where names differ."""
    found = []
    for path, module in ours.named_modules():
        theirs: str | None = path
        if names is not same and path:
            tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            theirs = names(f"{path}.{tensors[0][0]}").rpartition(".")[0] if tensors else None
        other = None if theirs is None else submodule(host, theirs)
        if other is not None and other is not module:
            found.append((module, other))
    return found


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one of torch's own that does something: a linear, a norm, an activation."""
    return type(module).__module__.startswith("torch.nn.modules.") and not isinstance(module, CONTAINERS)


def submodule(module: nn.Module, path: str) -> nn.Module | None:
    """The submodule at a path, None where there is none."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def _leaves(ours: nn.Module, host: nn.Module, names: HostName) -> Iterator[Slot]:
    """Replace our leaves of torch by what stands in their place in the host."""
    for path, leaf in list(ours.named_modules(remove_duplicate=False)):
        if not path or not is_leaf(leaf):
            continue
        tensors = [name for name, _ in (*leaf.named_parameters(), *leaf.named_buffers())]
        theirs = names(f"{path}.{tensors[0]}").rpartition(".")[0] if tensors else path
        found = submodule(host, theirs) if tensors or names is same else None
        if found is None:
            if tensors:
                raise SwapError(f"it has no module {theirs}")
            continue  # an activation that the host applies as a function, or has elsewhere
        if counterpart(found) is not None or isinstance(found, CONTAINERS):
            raise SwapError(f"{theirs} is a {qualified(type(found))}, not a single layer")
        before, _, last = path.rpartition(".")
        host_before, _, host_last = theirs.rpartition(".")
        holder, host_holder = submodule(ours, before), submodule(host, host_before)
        if holder is None or host_holder is None:
            raise SwapError(f"it has no module {host_before}")
        holder._modules[last] = found
        yield Slot("_modules", holder, last, "_modules", host_holder, host_last, path, theirs)


def _tensors(ours: nn.Module, host: nn.Module, names: HostName) -> Iterator[Slot]:
    """Enter the host's parameters and buffers where our own classes hold some."""
    for path, module in ours.named_modules():
        if is_leaf(module) or not type(module).__module__.startswith("samblocks."):
            continue
        for kind in ("_parameters", "_buffers"):
            for name, held in list(getattr(module, kind).items()):
                if held is None:
                    continue
                full = f"{path}.{name}" if path else name
                theirs = names(full)
                host_path, _, host_name = theirs.rpartition(".")
                holder = submodule(host, host_path)
                for host_kind in ("_parameters", "_buffers"):
                    tensor = getattr(holder, host_kind, {}).get(host_name)
                    if holder is not None and tensor is not None:
                        slot = Slot(host_kind, module, name, host_kind, holder, host_name, full, theirs)
                        yield _enter(slot, kind)
                        break
                else:
                    raise SwapError(f"it has no tensor {theirs}")


def _enter(slot: Slot, kind: str) -> Slot:
    """Put the host's tensor into our module, as parameter or buffer as it is one there."""
    tensor: Tensor = getattr(slot.host, slot.host_kind)[slot.host_name]
    ours: Tensor = getattr(slot.ours, kind)[slot.name]
    if tensor.shape != ours.shape and not isinstance(tensor, nn.parameter.UninitializedParameter):
        raise SwapError(
            f"{slot.host_name} has the shape {tuple(tensor.shape)}, ours would have {tuple(ours.shape)}"
        )
    if slot.kind != kind:  # a buffer of ours that is trainable there
        del getattr(slot.ours, kind)[slot.name]
    getattr(slot.ours, slot.kind)[slot.name] = tensor
    return slot


def copy_training(ours: nn.Module, host: nn.Module, pairs: Sequence[tuple[nn.Module, nn.Module]]) -> None:
    """Set the training flag of each module of ours to that of its counterpart, or else of the whole."""
    theirs = {id(module) for module in host.modules()}
    known = {id(module): found.training for module, found in pairs}
    for module in ours.modules():
        if id(module) not in theirs:
            module.training = known.get(id(module), host.training)


_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.Size)
_BASE = frozenset(vars(nn.Module())) | {"training"}
_NOT_OURS = frozenset(("gradient_checkpointing",))
"""Who sets these would believe that it does something."""


def _attributes(ours: nn.Module, host: nn.Module) -> None:
    """Plain attributes: those of the same name take the host's value, those that ours lacks are added."""
    own = vars(ours)
    for name, value in vars(host).items():
        if name in _BASE or name in _NOT_OURS or name in ours._modules:
            continue
        if name in own:
            if _plain(value) and _plain(own[name]):
                own[name] = value
        elif not hasattr(ours, name) or (_plain(value) and _plain(getattr(type(ours), name, ...))):
            own[name] = value


def add_attributes(ours: nn.Module, host: nn.Module) -> None:
    """Give a submodule of ours the attributes of its counterpart that it lacks; those that it has stay."""
    for name, value in vars(host).items():
        if name not in _BASE | _NOT_OURS and not hasattr(ours, name):
            vars(ours)[name] = value


def _plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_plain(item) for item in value.values()) and bool(value)
    return isinstance(value, _PLAIN)


def _check(ours: nn.Module, host: nn.Module) -> None:
    """Every tensor of the host is held by ours, as the same object, and nothing else is."""
    held = {id(tensor) for tensor in _all(ours)}
    theirs = {id(tensor): name for name, tensor in _named(host)}
    lacking = [name for key, name in theirs.items() if key not in held]
    if lacking:
        raise SwapError(f"ours has no place for {', '.join(sorted(lacking)[:3])}")
    extra = [name for name, tensor in _named(ours) if id(tensor) not in theirs]
    if extra:
        raise SwapError(f"it has nothing for {', '.join(sorted(extra)[:3])}")


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _all(module: nn.Module) -> Iterator[Tensor]:
    for _, tensor in _named(module):
        yield tensor
