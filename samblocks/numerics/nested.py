"""The tensors in a nested value, and what each is called."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One step into a nested value.

    Attributes:
        key: of a mapping, position in a sequence, or name of a dataclass's field.
        field: whether it is a field.
    """

    key: Any
    field: bool = False


Path = tuple[Step, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Whatever a nested value holds that is no mapping, list, tuple or dataclass, with the way to it.

    Arrays of numbers come as tensors.

    Examples:
        >>> [(subscripted(path), leaf) for path, leaf in leaves({"a": [1, None]})]
        [("out['a'][0]", 1), ("out['a'][1]", None)]
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, (*path, Step(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, Step(index)))
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from leaves(getattr(value, entry.name), (*path, Step(entry.name, field=True)))
    elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiubc":
        yield path, torch.from_numpy(np.array(value, order="C"))
    else:
        yield path, value


def tensors(value: Any) -> Iterator[tuple[Path, Tensor]]:
    """The tensors and arrays of a nested value, with the way to each; everything else is left out."""
    for path, leaf in leaves(value):
        if isinstance(leaf, Tensor):
            yield path, leaf.detach()


def slashed(path: Path) -> str:
    """A path as in `levels/0`; `out` for the value itself."""
    return "/".join(str(step.key) for step in path) or "out"


def subscripted(path: Path) -> str:
    """A path as one writes it in Python, the value itself being called `out`."""
    return "out" + "".join(f".{step.key}" if step.field else f"[{step.key!r}]" for step in path)
