"""Attention with wide keys and narrow values.

The weights of a query sum to one, so that a projection of the values may as well be applied to what was gathered:
softmax(q kᵀ) (v W + b) = (softmax(q kᵀ) v) W + b. In the memory attention of SAM 2 keys have 256 channels and the
memory 64, and there are many times more keys than queries.
"""

import torch
from torch import Tensor

from samblocks.ops.chunking import chunk_sizes

_LARGEST_SUM = 2.0**64
"""Up to it weights and what they gather are far from overflow."""


def attend_narrow(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute softmax(q kᵀ / √d) v for one head, a tile of scores at a time. No gradients are recorded.

    Args:
        q: [B, N, d]
        k: [B, M, d]
        v: [B, M, e]

    Returns:
        The weighted values: [B, N, e].

    Examples:
        >>> q, k = torch.zeros(1, 1, 2), torch.zeros(1, 2, 2)
        >>> attend_narrow(q, k, torch.tensor([[[1.0], [3.0]]])).tolist()
        [[[2.0]]]
    """
    tile = chunk_sizes().tile
    q = q * q.shape[2] ** -0.5
    out = v.new_zeros(*q.shape[:2], v.shape[2])
    for item in range(q.shape[0]):
        for start in range(0, q.shape[1], tile):
            rows = slice(start, start + tile)
            _gather(q[item, rows], k[item], v[item], tile, out[item, rows])
    return out


def _gather(q: Tensor, k: Tensor, v: Tensor, tile: int, out: Tensor) -> None:
    """Write softmax(q kᵀ) v into `out`, which holds zeros, without ever holding the scores of all keys.

    The weights are exp(score - r) by their sum for any r. The largest score would need a look at all keys before the
    first weight; here r is the largest one of the first tile. Weights may exceed one then, never all vanish, and where
    later scores are so much larger that they would overflow, those queries are done with all keys at once.
    """
    held, total = q.new_empty(q.shape[0], min(tile, k.shape[0])), q.new_zeros(q.shape[0], 1)
    largest: Tensor | None = None
    for keys, values in zip(torch.split(k, tile), torch.split(v, tile), strict=True):
        scores = held[:, : keys.shape[0]]
        torch.mm(q, keys.t(), out=scores)
        if largest is None:
            largest = scores.amax(1, keepdim=True)
        weights = scores.sub_(largest).exp_()
        total += weights.sum(1, keepdim=True)
        out.addmm_(weights, values)
    if bool((total <= _LARGEST_SUM).all()):
        out.div_(total)
    else:  # NaN, too, comes here
        torch.mm(torch.softmax(q @ k.t(), -1), v, out=out)
