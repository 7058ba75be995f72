"""Attention between few tokens and many, with the projections of the many applied to the few.

A decoder's tokens are some ten, the pixels that they look at thousands. A dot product of two projected vectors is
one of a twice projected token with a plain pixel, q · (W x) = (Wᵀ q) · x, and a projection of weighted sums is a
weighted sum of projected values; so that nothing has to be projected pixel by pixel.

Scores are laid out with the few tokens before the many, whichever of both are the queries. No gradients are recorded.
"""

import torch
from torch import Tensor

from samblocks.ops.chunking import chunk_sizes


def worth_folding(few: int, many: int, heads: int, inner: int) -> bool:
    """Say whether to project the few: each head has a vector of its own for each of them then.

    Args:
        few: number of tokens on one side.
        many: number of tokens on the other.
        heads: number of heads.
        inner: channels that all heads have together.

    Examples:
        >>> worth_folding(9, 4096, heads=8, inner=128), worth_folding(90, 4096, heads=8, inner=128)
        (True, False)
    """
    sizes = chunk_sizes()
    return 0 < few * heads <= inner * sizes.folded and many >= sizes.many


def gather_from_many(q: Tensor, k: Tensor, v: Tensor, k_weight: Tensor, v_weight: Tensor) -> Tensor:
    """Let few queries gather from many tokens.

    The bias of the keys is not asked for: it adds the same to all scores of a query. That of the values comes
    through whole, since weights sum to one; the caller adds it.

    Args:
        q: [B, h, N, d], projected
        k: [B, M, K], not projected
        v: [B, M, K], not projected
        k_weight: [h * d, K]
        v_weight: [h * e, K]

    Returns:
        What was gathered, [B, h, N, e], without the bias of the values.

    Examples:
        >>> q, x, eye = torch.zeros(1, 1, 1, 2), torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]), torch.eye(2)
        >>> gather_from_many(q, x, x, eye, eye).tolist()
        [[[[2.0, 4.0]]]]
    """
    batch, heads, few, width = q.shape
    placed = (q * width**-0.5) @ k_weight.view(heads, width, -1)
    weights = torch.bmm(placed.reshape(batch, heads * few, -1), k.mT).softmax(-1)
    gathered = torch.bmm(weights, v).view(batch, heads, few, -1)
    return gathered @ v_weight.view(heads, -1, v.shape[2]).mT


def gather_from_few(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_weight: Tensor,
    q_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor | None,
) -> Tensor:
    """Let many queries gather from few tokens, and project what they have gathered.

    Args:
        q: [B, N, C], not projected
        k: [B, h, M, d], projected
        v: [B, h, M, e], projected
        q_weight: [h * d, C]
        q_bias: [h * d]
        out_weight: [D, h * e]
        out_bias: [D]

    Returns:
        The projected values: [B, N, D].

    Examples:
        >>> q, k, eye = torch.zeros(1, 1, 2), torch.zeros(1, 1, 2, 2), torch.eye(2)
        >>> gather_from_few(q, k, torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), eye, None, eye, None).tolist()
        [[[2.0, 4.0]]]
    """
    batch, heads, few, width = k.shape
    k = k * width**-0.5
    scores = torch.bmm((k @ q_weight.view(heads, width, -1)).reshape(batch, heads * few, -1), q.mT)
    scores = scores.view(batch, heads, few, -1)
    if q_bias is not None:
        scores += k @ q_bias.view(heads, width, 1)
    return spread(scores, v, out_weight, out_bias)


def spread(scores: Tensor, v: Tensor, out_weight: Tensor, out_bias: Tensor | None) -> Tensor:
    """Weigh few values for many queries, and project the sums: what comes after the scores of `gather_from_few`.

    Args:
        scores: [B, h, M, N], of M values for N queries
        v: [B, h, M, e]
        out_weight: [D, h * e]
        out_bias: [D]

    Returns:
        The projected values: [B, N, D].

    Examples:
        >>> spread(torch.zeros(1, 1, 2, 1), torch.tensor([[[[1.0], [3.0]]]]), torch.ones(1, 1), torch.ones(1)).tolist()
        [[[3.0]]]
    """
    batch, heads, few, many = scores.shape
    values = v @ out_weight.view(-1, heads, v.shape[3]).permute(1, 2, 0)
    if out_bias is not None:
        values[:, 0] += out_bias  # the weights of a head sum to one
    weights = torch.softmax(scores, 2).view(batch, heads * few, many)
    return torch.bmm(weights.mT, values.view(batch, heads * few, -1))
