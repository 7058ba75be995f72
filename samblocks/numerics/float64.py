"""Run unmodified upstream code in float64, although it asks for float32 in many places.

`model.double()` is not enough: position encodings, rotary tables and the top-down path of the pyramid cast to
float32 by name, and complex tables stay complex64. Under `lifted()` every request for a narrower type is
answered with float64 (complex128), and nothing narrower may come out of any operator.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_WIDER = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
    torch.complex32: torch.complex128,
}
# The casts that name their target by being called, and what answers them.
_CASTS: dict[Any, Any] = {
    getattr(torch.Tensor, narrow): getattr(torch.Tensor, wide)
    for narrow, wide in (
        ("float", "double"),
        ("half", "double"),
        ("bfloat16", "double"),
        ("cfloat", "cdouble"),
    )
}


class LeakError(RuntimeError):
    """An operator returned or read a tensor narrower than float64 under `lifted()`."""


class _Lift(TorchFunctionMode):
    """Answers requests for narrow types with wide ones."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        wide_args = tuple(_widen(argument) for argument in args)
        wide_kwargs = {name: _widen(argument) for name, argument in (kwargs or {}).items()}
        return _CASTS.get(func, func)(*wide_args, **wide_kwargs)


# What may read a narrow tensor: only what makes a wide one of it.
_CONVERSIONS = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class _NoLeak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises as soon as an operator returns, or reads, something narrower than float64."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in _CONVERSIONS:
            _refuse_narrow(func, "read", (args, kwargs))
        result = func(*args, **(kwargs or {}))
        _refuse_narrow(func, "returned", result)
        return result


def _refuse_narrow(func: Any, did: str, value: Any) -> None:
    for leaf in tree_leaves(value):
        if isinstance(leaf, torch.Tensor) and leaf.dtype in _WIDER:
            raise LeakError(f"{func} {did} {leaf.dtype} in a run that must be float64 throughout")


@contextmanager
def lifted() -> Iterator[None]:
    """Context in which modules are constructed and run in float64 throughout.

    Raises:
        LeakError: from within, when an operator returns or reads a floating-point or complex tensor below
            double width; only conversions may read one.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _NoLeak(), _Lift():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.set_default_dtype(before)


# What a name means while names are substituted. torch.float is another name of torch.float32, and so on.
_NAMES = {
    "float32": torch.float64,
    "float": torch.float64,
    "float16": torch.float64,
    "half": torch.float64,
    "bfloat16": torch.float64,
    "complex64": torch.complex128,
    "cfloat": torch.complex128,
    "complex32": torch.complex128,
    "chalf": torch.complex128,
}


@contextmanager
def substituted() -> Iterator[None]:
    """The other way to float64, to check the first by: names of narrow types stand for wide ones.

    No mode watches operators here: `torch.float32` itself is float64 while the context lasts, and `x.float()` is
    `x.double()`. What the two ways give must be equal up to float64's rounding; where one of them lets float32
    through, it is not. Types that were bound when a module was imported are not reached by this way.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    methods = {cast.__name__: wide for cast, wide in _CASTS.items()}
    try:
        with ExitStack() as stack:
            for name, wide in _NAMES.items():
                stack.enter_context(mock.patch.object(torch, name, wide))
            for name, method in methods.items():
                stack.enter_context(mock.patch.object(torch.Tensor, name, method))
            yield
    finally:
        torch.set_default_dtype(before)


WAYS = {"lifted": lifted, "substituted": substituted}
"""The ways to run unmodified code in float64, by name."""


def _widen(argument: Any) -> Any:
    if isinstance(argument, torch.dtype):
        return _WIDER.get(argument, argument)
    return argument
