"""What stands against swapping a module: hooks, wrappers, replaced methods."""

from __future__ import annotations

import inspect
from types import FunctionType

import torch
from torch import nn

from samblocks.swap.adopt import CONTAINERS, is_leaf
from samblocks.swap.catalog import (
    CATALOG,
    catalogued_base,
    counterpart,
    is_ours,
    library_of,
    own_members,
    qualified,
)
from samblocks.swap.known_code import CodeCheck
from samblocks.swap.recording import is_recording

_HOOKS = {
    "_forward_hooks": "forward hooks",
    "_forward_pre_hooks": "forward hooks",
    "_backward_hooks": "backward hooks",
    "_backward_pre_hooks": "backward hooks",
    "_state_dict_hooks": "state-dict hooks",
    "_state_dict_pre_hooks": "state-dict hooks",
    "_load_state_dict_pre_hooks": "state-dict hooks",
    "_load_state_dict_post_hooks": "state-dict hooks",
}
_SHARDED = {"FullyShardedDataParallel": "FSDP", "FSDPModule": "FSDP"}


_WRAPPERS = frozenset(("DataParallel", "DistributedDataParallel", "AveragedModel", "PeftModel", "BaseTuner"))
"""Classes that call a model that somebody made before, and goes on holding: torch's, and peft's."""


def wrapped(module: nn.Module) -> list[nn.Module]:
    """A model, and what is in it as far as it only wraps: all of these somebody may hold."""
    found = [module]
    while any(base.__name__ in _WRAPPERS for base in type(found[-1]).__mro__):
        inner = next((child for child in found[-1]._modules.values() if child is not None), None)
        if inner is None:
            break
        found.append(inner)
    return found


def sealed(module: nn.Module) -> str:
    """Why neither a module nor anything in it can be exchanged; empty where nothing says so."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is scripted or traced: its code is fixed"
    if is_compiled(module) or getattr(module, "_compiled_call_impl", None) is not None:
        return "it is compiled: swap first, then compile"
    forward = vars(module).get("forward")
    if forward is not None and hasattr(forward, "_torchdynamo_orig_callable"):
        return "its forward is compiled: swap first, then compile"
    if sharded(module):
        return f"its parameters are sharded by {sharded(module)}: swap first, then shard"
    for parameter in module.parameters(recurse=False):
        if any(base.__name__ == "DTensor" for base in type(parameter.data).__mro__):
            return "its parameters are distributed tensors: swap first, then distribute"
    return ""


def is_compiled(module: nn.Module) -> bool:
    """Whether a module is what `torch.compile` made of another one."""
    return any(base.__name__ == "OptimizedModule" for base in type(module).__mro__)


def sharded(module: nn.Module) -> str:
    """What a module's parameters are sharded by; empty where nothing does."""
    names = {base.__name__ for base in type(module).__mro__}
    return next((what for name, what in _SHARDED.items() if name in names), "")


_RECOMPUTES = ("gradient_checkpointing", "grad_checkpointing", "use_checkpoint", "use_act_checkpoint")
"""Flags by which libraries say that a module runs its layers, or itself, again in the backward pass."""

_OURS_RECOMPUTE = frozenset(("ConvLayer", "BasicLayer"))
"""Where ours does it, too, by the same flag."""


def recomputes(module: nn.Module) -> str:
    """The flag of a host's module that says so, is set, and means nothing to ours; empty where none is."""
    found = counterpart(module)
    if found is not None and found.target in _OURS_RECOMPUTE:
        return ""
    return next((name for name in _RECOMPUTES if getattr(module, name, False)), "")


def changed(module: nn.Module, code: CodeCheck) -> str:
    """Why a module is not what its class, or the class it derives from, promises; empty where it is.

    Args:
        module: of a class of the catalogue, or within one.
        code: knows the code of classes.
    """
    flag = recomputes(module)
    if flag:
        return f"gradient checkpointing is switched on in it ({flag}), and ours has none"
    base = catalogued_base(module) if counterpart(module) is None else None
    if base is not None:
        own = own_members(type(module), base)
        what = "overrides forward" if "forward" in own else f"defines {', '.join(own[:3])}"
        return f"a subclass of {qualified(base)} that {what}"
    found = hooks(module)
    if found:
        return f"it has {found} that ours would not call"
    replaced = [name for name, value in vars(module).items() if callable(value) and _is_method(module, name)]
    if replaced:
        return f"its {replaced[0]} was replaced on the instance"
    for kind in type(module).__mro__:
        for name, member in vars(kind).items() if qualified(kind) in CATALOG else ():
            home = getattr(member, "__module__", None)
            if isinstance(member, FunctionType) and home != kind.__module__:
                return f"the {name} of its class was replaced by one of {home}"
    return code.unknown(module)


def _is_method(module: nn.Module, name: str) -> bool:
    return isinstance(
        inspect.getattr_static(type(module), name, None), FunctionType | staticmethod | classmethod
    )


def hooks(module: nn.Module) -> str:
    """Which hooks a module has that others put there, as words; empty where it has none."""
    found = (what for name, what in _HOOKS.items() if any(map(_counts, getattr(module, name, {}).values())))
    return ", ".join(dict.fromkeys(found))


def _counts(hook: object) -> bool:
    return not is_recording(hook)  # these are handed over


def within(
    module: nn.Module, code: CodeCheck
) -> tuple[list[tuple[str, nn.Module, str]], list[tuple[str, nn.Module, str]]]:
    """What stands against swapping a module with all that is in it.

    Returns:
        Obstacles, and what would stay as it is inside ours; each with its path, the module and a sentence.
    """
    obstacles: list[tuple[str, nn.Module, str]] = []
    staying: list[tuple[str, nn.Module, str]] = []

    library = library_of(module)

    def visit(path: str, part: nn.Module) -> None:
        reason = sealed(part)
        if reason or is_ours(part):
            obstacles.append((path, part, reason))
            return
        if is_leaf(part) or foreign(part, library):
            note = _note(part)
            if note:
                staying.append((path, part, note))
            return
        reason = changed(part, code)
        if reason:
            obstacles.append((path, part, reason))
            return
        for name, child in part.named_children():
            visit(f"{path}.{name}" if path else name, child)

    visit("", module)
    return obstacles, staying


def foreign(module: nn.Module, library: str) -> bool:
    """Whether a module is neither torch's nor of a class that a library defines."""
    home = type(module).__module__.partition(".")[0]
    known = is_leaf(module) or isinstance(module, CONTAINERS) or home == library
    return not known and catalogued_base(module) is None


def _note(module: nn.Module) -> str:
    """What is special about a layer that ours would take over as it is."""
    found = hooks(module)
    if found:
        return f"the layer stays in place, with its {found}"
    strange = {type(tensor.data) for tensor in module.parameters()} - {torch.Tensor, nn.Parameter}
    if strange:
        return f"its weight is a {strange.pop().__name__}: it stays in place"
    if is_leaf(module):
        return ""
    home = type(module).__module__
    words = f"{home}.{type(module).__qualname__}".lower()
    if home.startswith("peft.") or "lora" in words:
        return "a LoRA-wrapped layer: it stays in place"
    if "quant" in words or home.startswith(("bitsandbytes.", "torchao.", "torch.ao.", "torch.nn.quantized")):
        return "a quantized layer: it stays in place"
    return "not a layer of torch's: it stays in place"
