"""From an image's tokens to masks, without making the enlarged map.

A transposed convolution whose stride is its kernel is a linear layer that gives each pixel a block of pixels. Blocks
stay as they are, tokens of a wider row, until the few masks are there; only these are put into the order of a map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samblocks.blocks import LayerNorm2d
from samblocks.ops.chunking import chunk_sizes

_POINTWISE = (nn.GELU, nn.ReLU, nn.SiLU, nn.Sigmoid, nn.Identity)


def can_stay_in_blocks(upscaling: nn.Sequential) -> bool:
    """Say whether layers, those of `make_upscaling`, are of the known kinds.

    Args:
        upscaling: five layers.

    Examples:
        >>> from samblocks.models.decoder_parts import make_upscaling
        >>> can_stay_in_blocks(make_upscaling(16, nn.GELU)), can_stay_in_blocks(make_upscaling(16, nn.PReLU))
        (True, False)
    """
    enlarge_1, norm, act_1, enlarge_2, act_2 = upscaling
    return (
        _doubles(enlarge_1)
        and _doubles(enlarge_2)
        and type(norm) is LayerNorm2d
        and not norm.in_steps
        and type(act_1) in _POINTWISE
        and type(act_2) in _POINTWISE
    )


def in_blocks(x: Tensor, factor: int) -> Tensor:
    """Put a map into the order in which blocks of 2, or of 2 times 2 pixels a side, follow one another.

    Args:
        x: [B, C, f * H, f * W]
        factor: f, 2 or 4.

    Returns:
        [B, H * W * f * f, C]

    Examples:
        >>> in_blocks(torch.arange(8.0).reshape(1, 1, 2, 4), 2)[0, :, 0].tolist()
        [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]
    """
    batch, channels, height, width = x.shape
    halves = [2] * (factor.bit_length() - 1)
    x = x.reshape(batch, channels, height // factor, *halves, width // factor, *halves)
    steps = len(halves)
    order = [axis for step in range(steps + 1) for axis in (2 + step, 3 + steps + step)]
    return x.permute(0, *order, 1).reshape(batch, height * width, channels)


def masks_of_blocks(
    upscaling: nn.Sequential, vectors: Tensor, tokens: Tensor, size: tuple[int, int], finer: Sequence[Tensor]
) -> Tensor:
    """Enlarge an image and multiply each pixel with each mask's vector. No gradients are recorded.

    Args:
        upscaling: for which `can_stay_in_blocks` holds, from C to C/8 channels.
        vectors: [B, M, C/8]
        tokens: [B, H * W, C]
        size: (H, W).
        finer: what is added after each enlargement, [B, 4HW, C/4] and [B, 16HW, C/8] as `in_blocks` gives it; or none.

    Returns:
        [B, M, 4H, 4W] logits.
    """
    enlarge_1, norm, act_1, enlarge_2, act_2 = upscaling
    assert isinstance(norm, LayerNorm2d)
    first, second = _as_linear(enlarge_1), _as_linear(enlarge_2)
    (batch, pixels, _), (height, width) = tokens.shape, size
    masks = vectors.new_empty(batch, vectors.shape[1], 16 * pixels)
    step = max(1, chunk_sizes().enlarged // (16 * vectors.shape[2] * batch * tokens.element_size()))
    for start in range(0, pixels, step):
        x = F.linear(tokens[:, start : start + step], *first)
        x = x.view(batch, -1, norm.weight.shape[0])
        if finer:
            x = x.add_(finer[1][:, 4 * start : 4 * (start + step)])
        x = act_1(F.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.eps))
        x = F.linear(x, *second).view(batch, -1, vectors.shape[2])
        if finer:
            x = x.add_(finer[0][:, 16 * start : 16 * (start + step)])
        torch.bmm(vectors, act_2(x).mT, out=masks[:, :, 16 * start : 16 * (start + step)])
    # Two pixels that stay beside each other are moved as one number, in a tenth of the time.
    blocks = torch.view_as_complex(masks.view(batch, -1, height, width, 2, 2, 2, 2))
    rows = blocks.permute(0, 1, 2, 4, 6, 3, 5).contiguous()
    return torch.view_as_real(rows).view(batch, -1, 4 * height, 4 * width)


def _doubles(layer: nn.Module) -> bool:
    return (
        type(layer) is nn.ConvTranspose2d
        and layer.kernel_size == layer.stride == (2, 2)
        and layer.padding == layer.output_padding == (0, 0)
        and layer.dilation == (1, 1)
        and layer.groups == 1
    )


def _as_linear(enlarge: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight [4 * C', C] and bias [4 * C'] that give each pixel the four of its block."""
    weight, bias = enlarge.get_parameter("weight").permute(2, 3, 1, 0).flatten(0, 2), enlarge.bias
    return weight, bias.repeat(4) if isinstance(bias, Tensor) else None
