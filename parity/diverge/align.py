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
    tensors = {name: _or_none(canonical, name) for name in module.state_dict()}
    paths = {"": ""}
    for path, _ in module.named_modules(remove_duplicate=False):
        if not path:
            continue
        parent, _, last = path.rpartition(".")
        below = [
            (name[len(path) + 1 :], target)
            for name, target in tensors.items()
            if target is not None and name.startswith(f"{path}.")
        ]
        paths[path] = _stem(below) or ".".join(part for part in (paths[parent], last) if part)
    return paths


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


def _stem(below: Iterable[tuple[str, str]]) -> str:
    """The path under which most tensors have kept the rest of their names; "" if none has."""
    stems = Counter(target.removesuffix(f".{rest}") for rest, target in below if target.endswith(f".{rest}"))
    return stems.most_common(1)[0][0] if stems else ""


def _or_none(canonical: Canonical, name: str) -> str | None:
    try:
        return canonical(name)
    except (KeyError, ValueError):  # a tensor that Meta's layout does not have
        return None


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
