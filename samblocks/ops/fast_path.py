"""When a block may take another way to the same numbers.

A fast path calls layers several times, on a part of their input each time, or in another order. That must not be
noticed: not by autograd, not by hooks, not by layers that somebody else has put in the place of ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

_KNOWN = {
    nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.BatchNorm2d, nn.Embedding, nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d,
    nn.GELU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Dropout, nn.Identity, nn.Sequential, nn.ModuleList,
}  # fmt: skip
"""torch's own layers that may be called with a part of their input: in evaluation none looks beyond a pixel's
surroundings, and none keeps anything."""

_KNOWN_ELSEWHERE = {"transformers.activations.GELUActivation"}
"""Layers of other libraries that a swap leaves inside ours and of which the same is true, by their full names."""

is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
"""Whether a graph is being traced for an export. torch 2.6 cannot tell: there every graph may be for one."""

_plain: ContextVar[bool] = ContextVar("samblocks_plain_paths", default=False)


@contextmanager
def plain_paths() -> Iterator[None]:
    """Take no fast path in this thread until the end of the `with` block.

    Results then have upstream's bits where its order of operations is followed; otherwise they are as close to
    the exact values, but may differ in the last bits.

    Examples:
        >>> from samblocks.ops.fast_path import fast_path_allowed
        >>> layer = nn.Linear(2, 2).eval().requires_grad_(False)
        >>> with plain_paths():
        ...     fast_path_allowed(layer, torch.zeros(2))
        False
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def paths_are_plain() -> bool:
    """Say whether upstream's own way is asked for, down to how it lays out what it copies."""
    return not torch.compiler.is_compiling() and _plain.get()


def fast_path_allowed(module: nn.Module, *tensors: Tensor) -> bool:
    """Say whether nobody would notice that the layers of a module are called in another way.

    Fast paths are for processors: only plain tensors on the CPU, no gradients (forward or backward), no training
    mode, no graph being traced, no hooks below the module, and only layers of samblocks and those of torch that
    are known, with their own forward and plain parameters.

    Args:
        module: the module whose layers would be called; hooks on itself do not matter.
        *tensors: what it is called with, of any shapes.

    Returns:
        Whether a fast path may be taken.

    Examples:
        >>> layer = nn.Sequential(nn.Linear(2, 2)).eval()
        >>> fast_path_allowed(layer, torch.zeros(2))  # gradients of the weights would be recorded
        False
        >>> with torch.no_grad():
        ...     fast_path_allowed(layer, torch.zeros(2))
        True
    """
    if (
        _global_forward_hooks
        or _global_forward_pre_hooks
        or not tensors_allow(*tensors, *module.parameters())
    ):
        return False
    return all(_is_plain(part, hooks_matter=part is not module) for part in module.modules())


def folding_allowed(module: nn.Module, *tensors: Tensor) -> bool:
    """Say whether, beside that, sums may be put together in another way: not where each step rounds to half precision.

    Args:
        module: as for `fast_path_allowed`.
        *tensors: what it is called with, of any shapes.

    Returns:
        Whether they may.

    Examples:
        >>> layer = nn.Linear(2, 2).eval().requires_grad_(False)
        >>> folding_allowed(layer, torch.zeros(2)), folding_allowed(layer, torch.zeros(2).half())
        (True, False)
    """
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    exact = all(x.dtype in (torch.float32, torch.float64) for x in tensors)
    return exact and fast_path_allowed(module, *tensors)


def tensors_allow(*tensors: Tensor, devices: tuple[str, ...] = ("cpu",)) -> bool:
    """Say whether a fast path of a function on tensors alone may be taken: see `fast_path_allowed`.

    Args:
        *tensors: all that take part, of any shapes.
        devices: kinds of devices on which the path is one.

    Returns:
        Whether it may.

    Examples:
        >>> tensors_allow(torch.zeros(2)), tensors_allow(torch.zeros(2, requires_grad=True))
        (True, False)
    """
    if torch.compiler.is_compiling() or torch._C._is_tracing() or _plain.get():
        return False
    if forward_ad._current_level >= 0 or not all(_is_ordinary(x, devices) for x in tensors):
        return False
    return not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))


def graph_takes_operators(*tensors: Tensor) -> bool:
    """Say whether a graph that is being compiled may hold an operator of ours, which other runtimes do not know.

    Args:
        *tensors: what the operator would be called with, of any shapes.

    Returns:
        Whether it may: only in `torch.compile`, not in an export, for processors, and without gradients.

    Examples:
        >>> graph_takes_operators(torch.zeros(2))
        False
    """
    if not torch.compiler.is_compiling() or is_exporting():
        return False
    if any(x.device.type != "cpu" for x in tensors):
        return False
    return not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))


def _is_ordinary(x: Tensor, devices: tuple[str, ...]) -> bool:
    """Whether a tensor has memory there and is not wrapped by a tracer or a function transform."""
    if type(x) not in (Tensor, nn.Parameter) or x.device.type not in devices:
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(x)


def _is_plain(part: nn.Module, *, hooks_matter: bool) -> bool:
    """Whether a module is in evaluation, has a forward that is known, and is not listened to."""
    if part.training or "forward" in vars(part):
        return False
    if hooks_matter and (part._forward_hooks or part._forward_pre_hooks):
        return False
    kind = type(part)
    if kind in _KNOWN or kind.__module__.startswith("samblocks."):
        return True
    return f"{kind.__module__}.{kind.__qualname__}" in _KNOWN_ELSEWHERE
