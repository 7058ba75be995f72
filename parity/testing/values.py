"""What callables take and return: tensors, arrays and numbers in any nest of containers."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.errors import UsageError

Inputs = Any
"""One tensor, array, number, dataclass or named tuple; a list or tuple of arguments; or a dict of keyword arguments."""

_ARRAYS = "biufc"
"""Kinds of NumPy's types that a tensor can hold."""

WIDE = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
    torch.complex32: torch.complex128,
}
"""Types below double width, and what they are widened to."""


def arguments(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs as the positional and the keyword arguments of a call.

    Raises:
        UsageError: when they are neither values nor arguments.
    """
    if inputs is None or isinstance(inputs, str | bytes | set | frozenset | Iterator):
        raise UsageError(
            f"inputs is a {type(inputs).__name__}; give a tensor, an array, a number, a list or tuple of arguments, "
            "or a dict of keyword arguments"
        )
    if isinstance(inputs, Mapping) and not is_dataclass(inputs):
        strange = [key for key in inputs if not isinstance(key, str)]
        if strange:
            raise UsageError(
                f"inputs is a dict of keyword arguments, but has the key {strange[0]!r}; for one argument that is a "
                "dict give ({...},)"
            )
        return (), dict(inputs)
    if isinstance(inputs, list | tuple) and not hasattr(inputs, "_fields"):
        return tuple(inputs), {}
    return (inputs,), {}


def mapped(
    value: Any, change: Callable[[str, Tensor], Tensor], path: str = "", *, arrays: bool = True
) -> Any:
    """The same nest with every tensor replaced; what holds none is returned as it is.

    Args:
        value: any nest.
        change: gives the tensor in the place of one, by its path: "0/x".
        path: where the nest lies.
        arrays: also replace NumPy's arrays and scalars, which are handed over as tensors.
    """
    if isinstance(value, Tensor):
        return change(path, value)
    if isinstance(value, np.ndarray | np.generic):
        if not arrays or value.dtype.kind not in _ARRAYS:
            return value
        made = change(path, torch.from_numpy(np.array(value))).numpy()
        return made if isinstance(value, np.ndarray) else made[()]
    inner = list(_inner(value))
    if not inner:
        return value
    new = [(key, mapped(item, change, joined(path, key), arrays=arrays)) for key, item in inner]
    same = all(item is before for (_, item), (_, before) in zip(new, inner, strict=True))
    return value if same else with_items(value, [item for _, item in new])


def copies(inputs: Inputs) -> Any:
    """The inputs with tensors and arrays of their own, which need no gradient."""
    return mapped(inputs, lambda _, value: value.detach().clone())


def widened(inputs: Inputs) -> Any:
    """Copies in double width; integers stay."""
    return mapped(inputs, lambda _, value: wide(value.detach().clone()))


def wide(value: Tensor) -> Tensor:
    """A tensor in double width; integers stay."""
    return value.to(WIDE.get(value.dtype, value.dtype))


def tensors(inputs: Inputs, *, arrays: bool = True) -> list[tuple[str, Tensor]]:
    """Paths and tensors of the inputs."""
    found: list[tuple[str, Tensor]] = []

    def look(path: str, value: Tensor) -> Tensor:
        found.append((path, value))
        return value

    positional, named = arguments(inputs)
    mapped(positional, look, arrays=arrays)
    mapped(named, look, arrays=arrays)
    return found


def digest(inputs: Inputs) -> str:
    """Hash of the inputs' types, shapes and values."""
    found = hashlib.sha256()
    for leaf in _leaves(inputs):
        if isinstance(leaf, Tensor):
            found.update(f"{leaf.dtype} {tuple(leaf.shape)}\n".encode())
            plain = leaf.detach().cpu().contiguous().resolve_conj()
            found.update(plain.view(torch.uint8).numpy().tobytes() if leaf.numel() else b"")
        else:
            found.update(f"{leaf!r}\n".encode())
    return found.hexdigest()


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in _ARRAYS:
        yield torch.from_numpy(np.array(value))
    elif _is_container(value) and not isinstance(value, torch.Size):
        for _, item in _inner(value):
            yield from _leaves(item)
    else:
        yield value


def precision(inputs: Inputs) -> torch.dtype:
    """The floating-point type that a call works in: that of its first floating-point input; float32 without one."""
    for _, value in tensors(inputs):
        if value.is_floating_point() or value.is_complex():
            return value.real.dtype if value.is_complex() else value.dtype
    return torch.float32


def outputs_in(result: Any, real: torch.dtype, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Paths and tensors of a result; None is left out, text is compared by its bytes.

    Args:
        result: what a callable returned.
        real: the type of Python's own numbers.
        path: where the result lies.

    Raises:
        UsageError: for what cannot be compared.
    """
    name = path or "out"
    if isinstance(result, Tensor):
        yield name, _plain(result)
    elif isinstance(result, np.ndarray | np.generic) and result.dtype.kind in _ARRAYS:
        yield name, torch.from_numpy(np.array(result))
    elif isinstance(result, bool | int):
        yield name, torch.tensor(result)
    elif isinstance(result, float):
        yield name, torch.tensor(result, dtype=real)
    elif isinstance(result, complex):
        yield name, torch.tensor(result, dtype=torch.promote_types(real, torch.complex32))
    elif isinstance(result, str | bytes):
        text = result.encode() if isinstance(result, str) else result
        yield name, torch.tensor(list(text), dtype=torch.uint8)
    elif result is not None:
        if not _is_container(result):
            raise UsageError(
                f"output {name!r} is a {type(result).__name__}: return tensors, arrays, numbers or text, or "
                "containers of them"
            )
        for key, value in _inner(result):
            yield from outputs_in(value, real, joined(path, key))


def joined(path: str, key: str) -> str:
    """The path of an item."""
    return f"{path}/{key}" if path else key


def _plain(value: Tensor) -> Tensor:
    value = value.dequantize() if value.is_quantized else value
    return value.to_dense() if value.layout is not torch.strided else value


def _is_container(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple) or (is_dataclass(value) and not isinstance(value, type))


def _inner(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Size):
        return
    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    elif hasattr(value, "_fields"):  # a named tuple
        yield from zip(value._fields, value, strict=True)
    elif isinstance(value, list | tuple):
        yield from ((str(position), item) for position, item in enumerate(value))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((each.name, getattr(value, each.name)) for each in fields(value))


def with_items(value: Any, items: Sequence[Any]) -> Any:
    """A container like `value` with other items in the places of its own."""
    if isinstance(value, Mapping):
        new: Any = {} if type(value) is dict else copy.copy(value)
        for key, item in zip(value, items, strict=True):
            new[key] = item
        return new
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)
    if isinstance(value, list | tuple):
        return type(value)(items)
    new = copy.copy(value)
    for each, item in zip(fields(value), items, strict=True):
        object.__setattr__(new, each.name, item)
    return new
