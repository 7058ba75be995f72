"""The one place where blocks normalize."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def layer_norm(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a normalization module by calling it, so that hooks and replacements take effect.

    Args:
        layer: an `nn.LayerNorm`, or whatever stands in its place.
        x: [..., C]

    Returns:
        The layer's output, of the shape of `x`.

    Examples:
        >>> import torch
        >>> tuple(layer_norm(nn.LayerNorm(4), torch.zeros(2, 3, 4)).shape)
        (2, 3, 4)
    """
    out: Tensor = layer(x)
    return out


def layer_norm_2d(x: Tensor, weight: Tensor, bias: Tensor, eps: float, *, in_steps: bool = False) -> Tensor:
    """Normalize each pixel of a map over its channels.

    The channels go last for the fused kernel, so that the result lies in channels-last memory: reshape it
    where a `view` would need contiguous memory.

    Args:
        x: [B, C, H, W]
        weight: [C]
        bias: [C]
        eps: added to the (biased) variance.
        in_steps: compute mean and variance one after the other instead of with the fused kernel, for the bits
            of libraries that do so; the result lies in memory as `x` does.

    Returns:
        The normalized map: [B, C, H, W].

    Raises:
        ValueError: if `x` is not 4-D or its channels are not those of `weight`.

    Examples:
        >>> x = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)
        >>> layer_norm_2d(x, torch.ones(2), torch.zeros(2), eps=0.0).flatten().tolist()
        [-1.0, 1.0]
    """
    if x.dim() != 4 or x.shape[1] != weight.shape[0]:
        raise ValueError(f"x must be [B, {weight.shape[0]}, H, W], but its shape is {tuple(x.shape)}")
    if in_steps:
        centred = x - x.mean(1, keepdim=True)
        scaled = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + eps)
        return weight[:, None, None] * scaled + bias[:, None, None]
    return F.layer_norm(x.permute(0, 2, 3, 1), weight.shape, weight, bias, eps).permute(0, 3, 1, 2)
