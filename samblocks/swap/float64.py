"""A host's model once more in float64: the truth that errors in the working precision are measured against."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

_WIDER = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
}
_CASTS: dict[Any, Any] = {
    Tensor.float: Tensor.double,
    Tensor.half: Tensor.double,
    Tensor.bfloat16: Tensor.double,
}


class _Lift(TorchFunctionMode):
    """Answers every request for a narrower type with float64: hosts cast to float32 by name."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        wide = tuple(_WIDER.get(x, x) if isinstance(x, torch.dtype) else x for x in args)
        named = {k: _WIDER.get(x, x) if isinstance(x, torch.dtype) else x for k, x in (kwargs or {}).items()}
        return _CASTS.get(func, func)(*wide, **named)


def run_in_double(model: nn.Module, inputs: tuple[Any, ...], call: Callable[..., Any]) -> Any:
    """Run a copy of a model in float64.

    Args:
        model: the model; it is copied.
        inputs: what it is called with; floating-point tensors are widened.
        call: calls the copy with the inputs.

    Returns:
        Its outputs.
    """
    twin = copy.deepcopy(model).double()
    for module in twin.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor) and value.dtype in _WIDER:
                setattr(module, name, value.to(_WIDER[value.dtype]))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Lift():
            return call(twin, *tree_map(_widen, inputs))
    finally:
        torch.set_default_dtype(before)


def _widen(value: Any) -> Any:
    return value.to(_WIDER[value.dtype]) if isinstance(value, Tensor) and value.dtype in _WIDER else value
