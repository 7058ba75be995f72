"""Attention written out step by step, with the bits of libraries that write it out.

The fused kernel of `samblocks.ops.attend` and the written-out form differ in the last bits. A block that takes
the place of another library's goes through the steps that this library goes through.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from samblocks.ops.chunking import chunk_sizes
from samblocks.ops.fast_path import tensors_allow

Implementation = Literal["fused", "divide", "scale_queries", "scale_scores"]
"""How scores are made: by the fused kernel; or written out, with the dot products divided by √d, with queries
scaled before, or with dot products scaled after."""


def eager_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    implementation: Implementation,
    biases: Sequence[Tensor] = (),
    summed: bool = False,
    dropout_p: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    """Compute softmax(scores) v for each head, the scores in the order of operations that `implementation` names.

    Without gradients some heads, or some queries of one head, are done at a time and in place: the scores of
    all heads are never held together.

    Args:
        q: [B, h, N, d]
        k: [B, h, M, d]
        v: [B, h, M, e]
        implementation: any but "fused".
        biases: added to the scores one after the other, each [B, h, ...] with further axes that broadcast to
            as many elements as N * M; all have one number of axes.
        summed: whether biases are added up first, and their sum to the scores.
        dropout_p: probability with which an attention weight is dropped.
        scale: factor of the dot products; 1/√d if None. Not for "divide".

    Returns:
        The weighted values: [B, h, N, e].

    Examples:
        >>> q, k = torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 2, 2)
        >>> eager_attention(q, k, torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]), implementation="divide").tolist()
        [[[[2.0, 4.0]]]]
    """
    batch, heads = q.shape[:2]
    out_shape = (q.shape[-2], v.shape[-1])
    queries, keys, values = q.flatten(0, 1), _turned(k, implementation), v.flatten(0, 1)
    flat = [bias.expand(batch, heads, *bias.shape[2:]).flatten(0, 1) for bias in biases]
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    if dropout_p > 0.0 or not tensors_allow(q, k, v, *biases, devices=("cpu", "cuda")):
        scores = _scores(queries, keys, implementation, factor)
        for bias in _added(flat, summed):
            scores = (_spread(scores, flat) + bias).reshape(scores.shape)
        weights = F.dropout(scores.softmax(dim=-1), dropout_p)
        return (weights @ values).reshape(batch, heads, *out_shape)
    out = q.new_empty(batch * heads, *out_shape)
    for some, places, tokens in _chunks(queries, keys, flat):
        scores = _scores(queries[some, tokens], keys[some], implementation, factor)
        terms = [bias[some, places] for bias in flat]
        for term in _added(terms, summed):
            _spread(scores, terms).add_(term)
        out[some, tokens] = torch.softmax(scores, -1, out=scores) @ values[some]
    return out.reshape(batch, heads, *out_shape)


def _turned(k: Tensor, implementation: Implementation) -> Tensor:
    """Keys [B, h, M, d] as [B * h, d, M], in memory as where the implementation comes from.

    Some processors' products have other last bits for a matrix that lies transposed. Libraries that scale the queries
    have copied the keys of a head before they transpose them; the others let torch copy what is transposed.
    """
    if implementation == "scale_queries":
        return k.flatten(0, 1).transpose(1, 2)
    return k.transpose(2, 3).flatten(0, 1)


def _chunks(queries: Tensor, keys: Tensor, biases: Sequence[Tensor]) -> Iterator[tuple[slice, slice, slice]]:
    """Cut into heads, places on the biases' second axis, and the tokens that these are.

    A place is what that axis counts: a row of a map or a token. Biases that have none leave the tokens whole.
    """
    heads, tokens = queries.shape[:2]
    held = chunk_sizes().scores
    size = keys.shape[2] * queries.element_size()
    places = min((bias.shape[1] for bias in biases), default=tokens)
    each = tokens // max(places, 1)  # tokens of a place
    at_once = max(1, held // max(size * tokens, 1))
    step = places if at_once > 1 else min(places, max(1, held // max(size * each, 1)))
    for head in range(0, heads, at_once):
        for place in range(0, places, step):
            part = slice(place, place + step) if step < places else slice(None)
            tokens_there = slice(place * each, (place + step) * each)
            yield slice(head, head + at_once), part, tokens_there


def _added(biases: Sequence[Tensor], summed: bool) -> Sequence[Tensor]:
    """What is added to the scores, one after the other."""
    return [sum(biases[1:], biases[0])] if summed and biases else biases


def _scores(q: Tensor, k: Tensor, implementation: Implementation, scale: float) -> Tensor:
    """Scaled dot products [B * h, N, M] of queries [B * h, N, d] and keys [B * h, d, M]."""
    if implementation == "scale_queries":
        return (q * scale) @ k
    scores = q @ k
    return scores.div_(math.sqrt(q.shape[-1])) if implementation == "divide" else scores.mul_(scale)


def _spread(scores: Tensor, biases: Sequence[Tensor]) -> Tensor:
    """View scores [B * h, N, M] with the axes of the biases."""
    shape = (max(sizes) for sizes in zip(*(bias.shape[1:] for bias in biases), strict=True))
    return scores.view(scores.shape[0], *shape)
