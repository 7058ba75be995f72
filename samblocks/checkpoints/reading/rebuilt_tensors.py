"""What torch's `_rebuild_…` functions would return, as records of where the bytes lie.

Every argument is looked at. What would change a tensor's values and is not known here is refused: a tensor is never
read as another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from samblocks.checkpoints.reading.pickle_values import Global, PickleRefused, StorageRef, TensorRef

MOST_DIMENSIONS: Final = 16
_LARGEST: Final = 2**62
_PLAIN_TYPES: Final = frozenset({"torch.Tensor", "torch.nn.parameter.Parameter"})
_PLACE: Final = ("storage", "storage_offset", "size", "stride")

ARGUMENTS: Final = {
    "torch._utils._rebuild_tensor": _PLACE,
    "torch._utils._rebuild_tensor_v2": (*_PLACE, "requires_grad", "backward_hooks", "metadata"),
    "torch._utils._rebuild_tensor_v3": (*_PLACE, "requires_grad", "backward_hooks", "dtype", "metadata"),
    "torch._utils._rebuild_parameter": ("data", "requires_grad", "backward_hooks"),
    "torch._utils._rebuild_parameter_with_state": ("data", "requires_grad", "backward_hooks", "state"),
    "torch._tensor._rebuild_from_type_v2": ("func", "new_type", "args", "state"),
}
"""The functions that are understood, with the names of their arguments; `metadata` alone may be missing."""


def rebuild(function: Global, arguments: tuple[Any, ...]) -> TensorRef:
    """The tensor that a call of one of `ARGUMENTS` stands for.

    Raises:
        PickleRefused: an argument is not what torch writes there, or not understood.
    """
    names = ARGUMENTS[function.name]
    least = len(names) - (names[-1] == "metadata")
    if not least <= len(arguments) <= len(names):
        raise PickleRefused(f"it calls {function.name} with {len(arguments)} arguments")
    given = dict(zip(names, arguments, strict=False))
    for name, value in given.items():
        if name in _CHECKS and not _CHECKS[name](value):
            raise PickleRefused(f"it holds a tensor with {_WORDS[name]}")
    if "func" in given:
        return _of_type(function, given)
    if "data" in given:
        data = given["data"]
        if not isinstance(data, TensorRef):
            raise PickleRefused("it holds a parameter without a tensor")
        return data
    return _tensor(given)


def _of_type(function: Global, given: dict[str, Any]) -> TensorRef:
    inner, kind, arguments = given["func"], given["new_type"], given["args"]
    if not (isinstance(kind, Global) and kind.name in _PLAIN_TYPES):
        raise PickleRefused("it holds a tensor of a class of its own")
    known = isinstance(inner, Global) and inner.name in ARGUMENTS and inner != function
    if not known or not isinstance(arguments, tuple):
        raise PickleRefused("it holds a tensor that is made by an unknown function")
    return rebuild(inner, arguments)


def _tensor(given: dict[str, Any]) -> TensorRef:
    storage, offset, shape, strides = (given[name] for name in _PLACE)
    if not isinstance(storage, StorageRef):
        raise PickleRefused("it holds a tensor without a storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        raise PickleRefused("it holds a tensor whose sizes and strides do not fit together")
    numbers = (offset, *shape[:MOST_DIMENSIONS], *strides[:MOST_DIMENSIONS])
    if len(shape) > MOST_DIMENSIONS or not all(type(n) is int and 0 <= n < _LARGEST for n in numbers):
        raise PickleRefused("it holds a tensor with negative or impossible sizes, strides or offset")
    dtype = given.get("dtype")
    if "dtype" in given and not isinstance(dtype, Global):
        raise PickleRefused("it holds a tensor without a dtype")
    bits = given.get("metadata") or {}
    return TensorRef(
        storage,
        offset,
        shape,
        strides,
        dtype.name if dtype else None,
        negative=bits.get("neg", False),
        conjugate=bits.get("conj", False),
    )


def _no_hooks(value: object) -> bool:
    return value is None or value == {}


def _known_bits(value: object) -> bool:
    """Torch keeps whether a view stands for the negatives or the conjugates of what is stored."""
    return value is None or (
        isinstance(value, dict)
        and value.keys() <= {"neg", "conj"}
        and all(type(v) is bool for v in value.values())
    )


def _harmless(state: object) -> bool:
    """Whether a state is attributes of the user's own: one of torch's, such as `data`, would change the tensor."""
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    return all(
        part is None
        or (
            isinstance(part, dict)
            and all(isinstance(name, str) and not hasattr(torch.nn.Parameter, name) for name in part)
        )
        for part in parts
    )


_CHECKS: Final[dict[str, Callable[[object], bool]]] = {
    "requires_grad": lambda value: type(value) is bool,
    "backward_hooks": _no_hooks,
    "metadata": _known_bits,
    "state": _harmless,
}
_WORDS: Final = {
    "requires_grad": "a requires_grad that is no boolean",
    "backward_hooks": "hooks",
    "metadata": "metadata other than its negative and conjugate bits",
    "state": "attributes that would change it",
}
