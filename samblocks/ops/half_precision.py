"""Half precision on processors that have no instructions for its products.

Such a processor multiplies matrices of bfloat16 or float16 two to eight times slower than those of float32. There the
weights of a module are widened for the time of a call, everything in it is computed in float32, and what comes out is
rounded: weights and results are half as large, and the time is that of float32.
"""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from samblocks.ops.fast_path import fast_path_allowed

_HALF = (torch.bfloat16, torch.float16)

_INSTRUCTIONS = {
    torch.bfloat16: {"avx512_bf16": "_is_avx512_bf16_supported", "amx_bf16": "_is_amx_tile_supported"},
    torch.float16: {"avx512_fp16": "", "amx_fp16": "_is_amx_fp16_supported"},
}
"""By name, and the function of older releases of torch that says whether the processor has them."""

_chosen: ContextVar[bool | None] = ContextVar("samblocks_half_in_float32", default=None)

Made = TypeVar("Made", bound=nn.Module)


@cache
def has_fast_products(dtype: torch.dtype) -> bool:
    """Say whether this processor has instructions for products in half precision.

    It is asked what it has and never timed, so that a machine always gives the same bits.

    Args:
        dtype: `torch.bfloat16` or `torch.float16`.

    Returns:
        Whether it has; True for all but x86-64, which were not measured.

    Examples:
        >>> isinstance(has_fast_products(torch.bfloat16), bool)
        True
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    if hasattr(torch.cpu, "get_capabilities"):
        return any(torch.cpu.get_capabilities().get(name) for name in _INSTRUCTIONS[dtype])
    return any(getattr(torch.cpu, function, bool)() for function in _INSTRUCTIONS[dtype].values())


@contextmanager
def half_in_float32(chosen: bool) -> Iterator[None]:
    """Choose for this thread, until the end of the `with` block, what the processor otherwise decides.

    Args:
        chosen: whether half precision is computed in float32 inside modules.

    Examples:
        >>> layer = nn.Linear(2, 2).bfloat16().eval().requires_grad_(False)
        >>> with half_in_float32(True):
        ...     call_in_float32(layer, torch.zeros(1, 2, dtype=torch.bfloat16)).dtype
        torch.bfloat16
    """
    token = _chosen.set(chosen)
    try:
        yield
    finally:
        _chosen.reset(token)


def computes_half_in_float32(kind: type[Made]) -> type[Made]:
    """Let a module class compute half precision in float32 inside, where that is faster and nobody would notice.

    Args:
        kind: the class, which is changed in place. What its `forward` gives has the dtype of what it is called with.

    Returns:
        The class.

    Examples:
        >>> @computes_half_in_float32
        ... class Doubled(nn.Module):
        ...     def forward(self, x):
        ...         return 2 * x
        >>> Doubled().eval()(torch.ones(1, dtype=torch.bfloat16))
        tensor([2.], dtype=torch.bfloat16)
    """
    forward = kind.forward

    @wraps(forward)
    def computed(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return forward(self, *args, **kwargs)
        dtype = next((x.dtype for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
        if dtype not in _HALF or not _better_in_float32(self, dtype, args, kwargs):
            return forward(self, *args, **kwargs)
        wide_args, wide_kwargs = tree_map(_widened, (args, kwargs))
        return tree_map(_rounded(dtype), forward(_twin(self, {}), *wide_args, **wide_kwargs))

    kind.forward = computed
    return kind


def call_in_float32(module: nn.Module, x: Tensor) -> Tensor:
    """Call a module of torch, a row of layers for instance, as one of a class that `computes_half_in_float32`.

    Args:
        module: from one tensor to another.
        x: what it is called with, of any shape.

    Returns:
        What it gives.

    Examples:
        >>> call_in_float32(nn.Linear(2, 2), torch.zeros(1, 2)).dtype
        torch.float32
    """
    if (
        torch.compiler.is_compiling()
        or x.dtype not in _HALF
        or _is_listened_to(module)
        or not _better_in_float32(module, x.dtype, (x,), {})
    ):
        out: Tensor = module(x)
        return out
    wide: Tensor = _twin(module, {})(_widened(x))
    return wide.to(x.dtype)


def _better_in_float32(module: nn.Module, dtype: torch.dtype, args: Any, kwargs: Any) -> bool:
    """Whether all is of one dtype, whose products are slow here, and other weights would go unnoticed."""
    if torch.is_autocast_enabled("cpu"):
        return False
    chosen = _chosen.get()
    if has_fast_products(dtype) if chosen is None else not chosen:
        return False
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    floating = (x.dtype for x in (*tensors, *module.parameters()) if x.is_floating_point())
    if any(found != dtype for found in floating) or not fast_path_allowed(module, *tensors):
        return False
    return all(part._compiled_call_impl is None for part in module.modules() if part is not module)


def _is_listened_to(module: nn.Module) -> bool:
    """Whether a call of the module is more than one of its `forward`."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._compiled_call_impl is not None)


def _twin(module: nn.Module, made: dict[int, nn.Module]) -> nn.Module:
    """The same modules, sharing all but the weights, which are float32: the module itself may be in use elsewhere."""
    if id(module) not in made:
        made[id(module)] = twin = object.__new__(type(module))
        vars(twin).update(vars(module))
        parameters = {name: x if x is None else _parameter(x) for name, x in module._parameters.items()}
        buffers = {name: x if x is None else _widened(x) for name, x in module._buffers.items()}
        parts = {name: x if x is None else _twin(x, made) for name, x in module._modules.items()}
        vars(twin).update(_parameters=parameters, _buffers=buffers, _modules=parts)
    return made[id(module)]


def _parameter(x: nn.Parameter) -> nn.Parameter:
    return nn.Parameter(_widened(x.detach()), requires_grad=False)


def _widened(x: Any) -> Any:
    """A tensor in half precision as float32, each element once where one stands for many."""
    if not isinstance(x, Tensor) or x.dtype not in _HALF:
        return x
    once = x[tuple(slice(1) if stride == 0 else slice(None) for stride in x.stride())]
    return once.float().expand(x.shape)


def _rounded(dtype: torch.dtype) -> Callable[[Any], Any]:
    return lambda x: x.to(dtype) if isinstance(x, Tensor) and x.dtype == torch.float32 else x
