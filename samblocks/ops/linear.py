"""The one place where blocks apply a linear layer."""

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samblocks.ops.fast_path import is_exporting


def linear(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a linear layer by calling the module itself.

    The module is called, not its weight used, so that hooks, adapters and quantized replacements of the
    layer take effect.

    Args:
        layer: an `nn.Linear`, or whatever stands in its place.
        x: [..., C]

    Returns:
        The layer's output: [..., C'].

    Examples:
        >>> tuple(linear(nn.Linear(4, 6), torch.zeros(2, 3, 4)).shape)
        (2, 3, 6)
    """
    if _compiler_fuses_the_bias(layer, x):
        return F.linear(x, layer.weight) + layer.bias
    out: Tensor = layer(x)
    return out


def _compiler_fuses_the_bias(layer: nn.Module, x: Tensor) -> TypeGuard[nn.Linear]:
    """Whether the bias is better added by what follows in a compiled graph.

    The compiler's product with a bias first writes the bias into all of its output. Added behind the product, it is
    taken into the next element-wise kernel. Half precision would round once more, and an export keeps the layer.
    """
    if not torch.compiler.is_compiling() or is_exporting() or type(layer) is not nn.Linear:
        return False
    if layer.bias is None or x.dtype is not torch.float32 or x.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu") or layer._forward_hooks or layer._forward_pre_hooks:
        return False
    return "forward" not in vars(layer)
