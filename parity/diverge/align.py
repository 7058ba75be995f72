"""Which module of one tree is which of the other: by the canonical names of the tensors below it."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

Canonical = Callable[[str], str]
_SIMPLE = (bool, int, float, str)


def canonical_paths(module: nn.Module, canonical: Canonical) -> dict[str, str]:
    """Each submodule's own path → its path in Meta's layout; a shared module stands under each of its names.

    A module is where its tensors are. One without tensors keeps its own last name below its parent.

    Args:
        module: the tree.
        canonical: the name in Meta's layout of a tensor of the state dict.
    """
    tensors = _names_of_tensors(module, canonical)
    paths = {"": ""}
    for path, _ in module.named_modules(remove_duplicate=False):
        if not path:
            continue
        parent, _, last = path.rpartition(".")
        below = [
            (name[len(path) + 1 :], target) for name, target in tensors.items() if name.startswith(f"{path}.")
        ]
        stem = _stem(below)
        inherited = ".".join(part for part in (paths[parent], last) if part)
        paths[path] = inherited if stem is None else stem
    return paths


def _names_of_tensors(module: nn.Module, canonical: Canonical) -> dict[str, str]:
    """Where each tensor is in the tree → its canonical name; a state dict may call it otherwise."""
    state = module.state_dict()
    homes = {(value.data_ptr(), value.shape): name for name, value in state.items()}
    found = {}
    for path, part in module.named_modules(remove_duplicate=False):
        for name, value in (*part._parameters.items(), *part._buffers.items()):
            full = f"{path}.{name}" if path else name
            key = full if full in state or value is None else homes.get((value.data_ptr(), value.shape))
            target = _or_none(canonical, key) if key in state else None
            if target is not None:
                found[full] = target
    return found


def attributes(module: nn.Module) -> dict[str, Any]:
    """The settings that a module keeps as plain attributes: numbers, words and short sequences of them."""
    found: dict[str, Any] = {}
    for name, value in vars(module).items():
        if name.startswith("_") or name == "training":
            continue
        if isinstance(value, _SIMPLE):
            found[name] = value
        elif isinstance(value, list | tuple | range) and all(isinstance(item, _SIMPLE) for item in value):
            found[name] = list(value)
        elif getattr(value, "__module__", "").startswith("torch") and hasattr(value, "__name__"):
            found[name] = value.__name__  # an activation, as a function or a class
    return found


def differing(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """The settings that both modules have and that differ, each as a phrase."""
    return [
        f"{name} {_shown(ours[name])}, upstream {_shown(theirs[name])}"
        for name in ours
        if name in theirs and ours[name] != theirs[name]
    ]


def _stem(below: Iterable[tuple[str, str]]) -> str | None:
    """The path under which most tensors have kept the rest of their names; None if none has."""
    stems = Counter(
        target.removesuffix(rest).removesuffix(".")
        for rest, target in below
        if target == rest or target.endswith(f".{rest}")
    )
    return stems.most_common(1)[0][0] if stems else None


def _or_none(canonical: Canonical, name: str | None) -> str | None:
    try:
        return None if name is None else canonical(name)
    except (KeyError, ValueError):  # a tensor that Meta's layout does not have
        return None


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
