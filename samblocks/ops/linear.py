"""The one place where blocks apply a linear layer."""

from torch import Tensor, nn


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
        >>> import torch
        >>> tuple(linear(nn.Linear(4, 6), torch.zeros(2, 3, 4)).shape)
        (2, 3, 6)
    """
    out: Tensor = layer(x)
    return out
