"""The one place where attention is computed."""

import torch
from torch import Tensor
from torch.nn import functional as F

from samblocks.ops.chunking import chunk_sizes
from samblocks.ops.eager_attention import Implementation, eager_attention
from samblocks.ops.fast_path import tensors_allow


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Give each head its own group of adjacent channels.

    Args:
        x: [B, N, C]
        num_heads: number of heads h; divides C.

    Returns:
        A view of `x`: [B, h, N, d].

    Examples:
        >>> import torch
        >>> tuple(split_heads(torch.zeros(2, 5, 12), 3).shape)
        (2, 3, 5, 4)
    """
    return x.reshape(*x.shape[:-1], num_heads, x.shape[-1] // num_heads).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Put the heads' channels side by side again, the inverse of `split_heads`.

    Args:
        x: [B, h, N, d]

    Returns:
        The channels of all heads: [B, N, C].

    Examples:
        >>> import torch
        >>> tuple(merge_heads(torch.zeros(2, 3, 5, 4)).shape)
        (2, 5, 12)
    """
    return x.transpose(1, 2).flatten(2)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
    implementation: Implementation = "fused",
) -> Tensor:
    """Compute softmax(q kᵀ · scale + bias) v for each head.

    Args:
        q: [B, h, N, d]
        k: [B, h, M, d]
        v: [B, h, M, e]
        bias: [B, h, N, M] or broadcastable to it, added to the scores, in the dtype of `q`
        dropout_p: probability with which an attention weight is dropped. The caller sees to it that this
            is 0 outside training.
        scale: factor of the dot products; 1/√d if None.
        implementation: the order of operations; any but "fused" is written out, for the bits of other libraries.

    Returns:
        The weighted values: [B, h, N, e].

    Examples:
        >>> import torch
        >>> q, k = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2, 2)
        >>> attend(q, k, torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).tolist()
        [[[[2.0, 4.0]]]]
    """
    if implementation == "fused":
        if dropout_p == 0.0 and _is_better_wide(q, k, v):
            with torch.autocast("cpu", enabled=False):
                wide = None if bias is None else bias.float()
                out = attend(q.float(), k.float(), v.float(), bias=wide, scale=scale)
            return out.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout_p, scale=scale)
    biases = () if bias is None else (bias,)
    return eager_attention(
        q, k, v, implementation=implementation, biases=biases, dropout_p=dropout_p, scale=scale
    )


def _is_better_wide(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether half precision is better computed in float32, in which a processor's fused kernel works faster."""
    if torch.compiler.is_compiling() or q.dtype not in (torch.bfloat16, torch.float16):
        return False
    return q.shape[-2] * k.shape[-2] >= chunk_sizes().widened and tensors_allow(q, k, v)
