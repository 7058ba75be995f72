"""Decomposed relative positions: one learned table per axis, read by the distance of query and key."""

import torch
from torch import Tensor
from torch.nn import functional as F

from samblocks.ops.precision import at_least_float32


def get_rel_pos(q_size: int, k_size: int, rel_pos: Tensor) -> Tensor:
    """Read a table of relative positions for each pair of query and key along one axis.

    A table of another length than 2 * max(q_size, k_size) - 1 is interpolated linearly first.

    Args:
        q_size: number of query positions on the axis.
        k_size: number of key positions on the axis.
        rel_pos: [L, C]

    Returns:
        One row of the table per pair: [q_size, k_size, C].

    Raises:
        ValueError: if a size is less than 1 or the table is not 2-D.

    Examples:
        >>> get_rel_pos(2, 2, torch.tensor([[-1.0], [0.0], [1.0]]))[..., 0].tolist()
        [[0.0, -1.0], [1.0, 0.0]]

    Upstream: facebookresearch/segment-anything segment_anything/modeling/image_encoder.py
    """
    if q_size < 1 or k_size < 1:
        raise ValueError(f"q_size and k_size must be at least 1, got {q_size} and {k_size}")
    if rel_pos.dim() != 2:
        raise ValueError(f"rel_pos must be [L, C], but its shape is {tuple(rel_pos.shape)}")
    length = 2 * max(q_size, k_size) - 1
    if rel_pos.shape[0] != length:
        rel_pos = F.interpolate(rel_pos.t().unsqueeze(0), size=length, mode="linear")[0].t()
    # The shorter axis is stretched to the longer one, then distances are shifted to begin at 0.
    q_step, k_step = max(k_size / q_size, 1.0), max(q_size / k_size, 1.0)
    dtype, device = at_least_float32(rel_pos.dtype), rel_pos.device
    q_position = torch.arange(q_size, dtype=dtype, device=device)[:, None] * q_step
    k_position = torch.arange(k_size, dtype=dtype, device=device)[None, :] * k_step
    return rel_pos[((q_position - k_position) + (k_size - 1) * k_step).long()]


def add_decomposed_rel_pos(
    attn: Tensor,
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> Tensor:
    """Add the relative positions of both axes to attention scores.

    Args:
        attn: [B, N, M], scores, with N = height * width of the queries and M of the keys
        q: [B, N, C], unscaled queries
        rel_pos_h: [L, C], table of vertical distances
        rel_pos_w: [L', C], table of horizontal distances
        q_size: (height, width) of the queries.
        k_size: (height, width) of the keys.

    Returns:
        The scores with both terms added: [B, N, M].

    Examples:
        >>> attn, q = torch.zeros(1, 4, 4), torch.ones(1, 4, 1)
        >>> table = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> add_decomposed_rel_pos(attn, q, table, table, (2, 2), (2, 2))[0, 3].tolist()
        [2.0, 1.0, 1.0, 0.0]

    Upstream: facebookresearch/segment-anything segment_anything/modeling/image_encoder.py
    """
    rows, columns = _axis_scores(q, rel_pos_h, rel_pos_w, q_size, k_size)
    pairs = attn.reshape(attn.shape[0], *q_size, *k_size)
    return (pairs + rows[..., :, None] + columns[..., None, :]).reshape(attn.shape)


def rel_pos_terms(
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Compute the two terms that `add_decomposed_rel_pos` adds.

    Args:
        q: unscaled queries, [B, N, C]
        rel_pos_h: table of vertical distances, [L, C]
        rel_pos_w: table of horizontal distances, [L', C]
        q_size: (height, width) of the queries.
        k_size: (height, width) of the keys.

    Returns:
        By query and row of the keys, [B, qh, qw, kh, 1], by query and column, [B, qh, qw, 1, kw].

    Examples:
        >>> table = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> rows, columns = rel_pos_terms(torch.ones(1, 4, 1), table, table, (2, 2), (2, 2))
        >>> rows[0, 1, 1].flatten().tolist(), columns[0, 1, 1].flatten().tolist()
        ([1.0, 0.0], [1.0, 0.0])
    """
    rows, columns = _axis_scores(q, rel_pos_h, rel_pos_w, q_size, k_size)
    return rows[..., :, None], columns[..., None, :]


def _axis_scores(
    q: Tensor,
    rel_pos_h: Tensor,
    rel_pos_w: Tensor,
    q_size: tuple[int, int],
    k_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Score each query with each key row, [B, qh, qw, kh], and each key column, [B, qh, qw, kw]."""
    (q_h, q_w), (k_h, k_w) = q_size, k_size
    grid = q.reshape(q.shape[0], q_h, q_w, q.shape[-1])
    rows = torch.einsum("bhwc,hkc->bhwk", grid, get_rel_pos(q_h, k_h, rel_pos_h))
    columns = torch.einsum("bhwc,wkc->bhwk", grid, get_rel_pos(q_w, k_w, rel_pos_w))
    return rows, columns
