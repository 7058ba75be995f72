"""Attention whose scores depend on where query and key are in the map.

The bias has an element for each pair of pixels, 831 MB for a global block of ViT-B at 1024 x 1024. It is the sum
of two small terms, so that it can be made for the queries of one head and a few rows at a time.
"""

import itertools

import torch
from torch import Tensor

from samblocks.ops.attend import attend
from samblocks.ops.chunking import chunk_sizes
from samblocks.ops.eager_attention import Implementation, eager_attention
from samblocks.ops.fast_path import graph_takes_operators, tensors_allow


def attend_with_rel_pos(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rows: Tensor,
    columns: Tensor,
    *,
    scale: float,
    implementation: Implementation = "fused",
    summed: bool = False,
) -> Tensor:
    """Compute softmax(q kᵀ · scale + rows + columns) v for each head.

    Args:
        q: [B, h, N, d], the pixels of a grid, row by row
        k: [B, h, M, d]
        v: [B, h, M, e]
        rows: [B, h, H, W, H', 1], by query and row of the key; H * W = N, H' * W' = M
        columns: [B, h, H, W, 1, W'], by query and column of the key
        scale: factor of the dot products.
        implementation: the order of operations, as for `attend`.
        summed: whether both terms are added up first, and their sum to the scores; always so if "fused".

    Returns:
        The weighted values: [B, h, N, e].

    Examples:
        >>> import torch
        >>> q = torch.zeros(1, 1, 4, 2)
        >>> rows, columns = torch.zeros(1, 1, 2, 2, 2, 1), torch.zeros(1, 1, 2, 2, 1, 2)
        >>> rows[..., 1, :] = -torch.inf  # nobody looks at the lower row
        >>> attend_with_rel_pos(q, q, torch.tensor([[[[1.0], [2.0], [3.0], [4.0]]]]), rows, columns, scale=1.0)[0, 0, 0]
        tensor([1.5000])
    """
    if implementation != "fused":
        return eager_attention(
            q, k, v, implementation=implementation, biases=(rows, columns), summed=summed, scale=scale
        )
    if graph_takes_operators(q, k, v, rows, columns):
        gathered: Tensor = torch.ops.samblocks.attend_with_rel_pos(q, k, v, rows, columns, scale)
        return gathered
    batch, heads, height, width = rows.shape[:4]
    a_row = width * k.shape[2] * q.element_size()
    size = batch * heads * height * a_row
    if not tensors_allow(q, k, v, rows, columns) or size <= chunk_sizes().left_whole:
        return attend(q, k, v, bias=(rows + columns).reshape(*q.shape[:3], k.shape[2]), scale=scale)
    step = min(height, max(1, chunk_sizes().scores // a_row))
    out = q.new_empty(*q.shape[:3], v.shape[3])
    held = q.new_empty(step, *rows.shape[3:5], columns.shape[5])
    for item, head in itertools.product(range(batch), range(heads)):
        one = (slice(item, item + 1), slice(head, head + 1))
        for top in range(0, height, step):
            places, some = slice(top, top + step), slice(top * width, (top + step) * width)
            bias = held[: min(step, height - top)]
            torch.add(rows[item, head, places], columns[item, head, places], out=bias)
            bias = bias.view(1, 1, -1, k.shape[2])
            out[*one, some] = attend(q[*one, some], k[one], v[one], bias=bias, scale=scale)
    return out


@torch.library.custom_op("samblocks::attend_with_rel_pos", mutates_args=())
def _operator(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    """`attend_with_rel_pos` as one node of a graph, so that a compiled model never makes the whole bias either."""
    return attend_with_rel_pos(q, k, v, rows, columns, scale=scale).contiguous()


@_operator.register_fake
def _shape(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    return q.new_empty(*q.shape[:3], v.shape[3])
