"""Attention written out step by step, with the bits of libraries that write it out.

The fused kernel of `samblocks.ops.attend` and the written-out form differ in the last bits. A block that takes
the place of another library's goes through the steps that this library goes through.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Form = Literal["fused", "divide", "scale_queries", "scale_scores"]
"""How scores are made: by the fused kernel; or written out, with the dot products divided by √d, with queries
scaled before, or with dot products scaled after."""

_PIECE = 16 << 20
"""Bytes of scores that are held at once where no gradients are recorded."""


def attend_in_steps(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    form: Form,
    biases: Sequence[Tensor] = (),
    dropout_p: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """Compute softmax(scores) v for each head, the scores in the order of operations that `form` names.

    Without gradients some heads are done at a time and in place: the bits are the same, the scores of all
    heads are never held together.

    Args:
        q: [B, h, N, d]
        k: [B, h, M, d]
        v: [B, h, M, e]
        form: any but "fused".
        biases: added to the scores one after the other, each [B, h, ...] with further axes that broadcast to
            as many elements as N * M; all have one number of axes.
        dropout_p: probability with which an attention weight is dropped.
        scale: factor of the dot products; 1/√d if None. Not for "divide".

    Returns:
        The weighted values: [B, h, N, e].

    Examples:
        >>> q, k = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2, 2)
        >>> attend_in_steps(q, k, torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), form="divide").tolist()
        [[[[2.0, 4.0]]]]
    """
    batch, heads = q.shape[:2]
    out_shape = (q.shape[-2], v.shape[-1])
    queries, keys, values = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
    flat = [bias.expand(batch, heads, *bias.shape[2:]).flatten(0, 1) for bias in biases]
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    tensors = (q, k, v, *biases)
    recorded = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    if recorded or dropout_p > 0.0 or torch.compiler.is_compiling():
        scores = _scores(queries, keys, form, factor)
        for bias in flat:
            scores = (_spread(scores, flat) + bias).reshape(scores.shape)
        weights = F.dropout(scores.softmax(dim=-1), dropout_p)
        return (weights @ values).reshape(batch, heads, *out_shape)
    out = q.new_empty(batch * heads, *out_shape)
    size = q.shape[-2] * k.shape[-2] * q.element_size()
    step = max(1, _PIECE // max(size, 1))
    for start in range(0, batch * heads, step):
        piece = slice(start, start + step)
        scores = _scores(queries[piece], keys[piece], form, factor)
        for bias in flat:
            _spread(scores, flat).add_(bias[piece])
        out[piece] = scores.softmax(dim=-1) @ values[piece]
    return out.reshape(batch, heads, *out_shape)


def _scores(q: Tensor, k: Tensor, form: Form, scale: float) -> Tensor:
    """Scaled dot products [B * h, N, M]."""
    if form == "scale_queries":
        return (q * scale) @ k.transpose(1, 2)
    scores = q @ k.transpose(1, 2)
    return scores.div_(math.sqrt(q.shape[-1])) if form == "divide" else scores.mul_(scale)


def _spread(scores: Tensor, biases: Sequence[Tensor]) -> Tensor:
    """View scores [B * h, N, M] with the axes of the biases."""
    shape = (max(sizes) for sizes in zip(*(bias.shape[1:] for bias in biases), strict=True))
    return scores.view(scores.shape[0], *shape)
