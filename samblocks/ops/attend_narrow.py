"""Attention with wide keys and narrow values.

The weights of a query sum to one, so that a projection of the values may as well be applied to what was gathered:
softmax(q kᵀ) (v W + b) = (softmax(q kᵀ) v) W + b. In the memory attention of SAM 2 keys have 256 channels and the
memory 64, and there are many times more keys than queries.
"""

import torch
from torch import Tensor

from samblocks.ops.chunking import chunk_sizes

_SCORES = 32 << 20
"""Bytes of scores that are held at once, at most."""


def attend_narrow(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute softmax(q kᵀ / √d) v for one head, some queries at a time. No gradients are recorded.

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
    keys = k.shape[1]
    step = max(1, min(chunk_sizes().queries, q.shape[1], _SCORES // max(keys * q.element_size(), 1)))
    q = q * q.shape[2] ** -0.5
    out = v.new_empty(*q.shape[:2], v.shape[2])
    held = q.new_empty(step, keys)
    for item in range(q.shape[0]):
        for start in range(0, q.shape[1], step):
            queries = q[item, start : start + step]
            scores = held[: queries.shape[0]]
            torch.mm(queries, k[item].t(), out=scores)
            torch.softmax(scores, -1, out=scores)
            torch.mm(scores, v[item], out=out[item, start : start + step])
    return out
