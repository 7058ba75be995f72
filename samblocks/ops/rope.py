"""Axial rotary position encoding.

A head's channels are taken in adjacent pairs; each pair is rotated by an angle that grows with the column
(first half of the pairs) or the row (second half). A pair is a complex number, and turning it a product.

Graphs that are traced for export or compilation must not hold complex numbers: there the product is written
out in real ones, with the same bits in float32 on a CPU. (The complex product itself rounds in two ways there:
pairs that do not fill a vector register go through fused multiply-adds. So the last bit of at most 7 pairs may
differ where width * height * d / 2 is no multiple of 8, which no released model has.)
"""

from __future__ import annotations  # torch 2.6 cannot trace annotations of functions inside functions

import torch
from torch import Tensor

from samblocks.ops.cache import TableCache
from samblocks.ops.precision import at_least_float32

_tables = TableCache(capacity=32)


def axial_tables(
    dim: int,
    size: tuple[int, int],
    theta: float = 10000.0,
    scale_pos: float = 1.0,
    *,
    like: Tensor,
) -> tuple[Tensor, Tensor]:
    """Give the cosines and sines of all pixels and pairs. The results are cached tables: never change them.

    Args:
        dim: channels d of a head.
        size: (width, height) of the grid, in pixels.
        theta: base of the angles' geometric row.
        scale_pos: factor of the pixel coordinates.
        like: the tensor to be rotated, of any shape, for device and dtype.

    Returns:
        Cosines and sines, each [width * height, 2 * (d // 4)], float64 if `like` is, else float32.

    Examples:
        >>> cos, sin = axial_tables(8, (3, 2), like=torch.zeros(1))
        >>> tuple(cos.shape), cos[0].tolist(), sin[0].tolist()
        ((6, 4), [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0])
    """
    dtype, device = at_least_float32(like.dtype), like.device

    def make() -> tuple[Tensor, Tensor]:
        cos, sin = _cos_sin(_angles(dim, size, theta, scale_pos, dtype))
        return cos.to(device), sin.to(device)

    cos, sin = _tables.get((dim, size, theta, scale_pos, dtype, device), make, like=like)
    return cos, sin


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn adjacent pairs of channels, in at least float32.

    Args:
        x: [B, h, N, d], where N is the number of rows of the tables or a multiple of it: the tables are
            then used again from their first row
        cos: [rows, d / 2]
        sin: [rows, d / 2]

    Returns:
        The rotated channels, [B, h, N, d] in the dtype of `x`.

    Examples:
        >>> x = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
        >>> rotate_pairs(x, torch.tensor([[0.0]]), torch.tensor([[1.0]])).tolist()
        [[[[0.0, 1.0], [0.0, 1.0]]]]
    """
    rows = cos.shape[0]
    dtype = torch.promote_types(at_least_float32(x.dtype), cos.dtype)
    groups = (rows,) if x.shape[-2] == rows else (x.shape[-2] // rows, rows)
    pairs = x.to(dtype).reshape(*x.shape[:-2], *groups, x.shape[-1] // 2, 2)
    written_out = _in_a_graph() or pairs.device.type not in ("cpu", "cuda", "meta")
    rotated = _product_in_reals(pairs, cos, sin) if written_out else _product(pairs, cos, sin)
    return rotated.reshape(x.shape).to(x.dtype)


def rotate_pairs_(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn adjacent pairs of channels in place, with the bits of `rotate_pairs`. No gradients are recorded.

    Args:
        x: [B, N, d] of the dtype of the tables, each token's channels side by side in memory; it is changed.
            N is the number of rows of the tables or a multiple of it.
        cos: [rows, d / 2]
        sin: [rows, d / 2]

    Examples:
        >>> x = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
        >>> rotate_pairs_(x, torch.tensor([[0.0]]), torch.tensor([[1.0]]))
        >>> x.tolist()
        [[[0.0, 1.0], [0.0, 1.0]]]
    """
    rows = cos.shape[0]
    pairs = x.view(x.shape[0], x.shape[1] // rows, rows, x.shape[2] // 2, 2)
    torch.view_as_complex(pairs).mul_(torch.complex(cos, sin))


def compute_axial_cis(
    dim: int, end_x: float, end_y: float, theta: float = 10000.0, scale_pos: float = 1.0
) -> Tensor:
    """Compute the rotations of all pixels and pairs as complex numbers of length one.

    Args:
        dim: channels d of a head.
        end_x: width of the grid, a whole number.
        end_y: height of the grid, a whole number.
        theta: base of the angles' geometric row.
        scale_pos: factor of the pixel coordinates.

    Returns:
        The rotations, [end_x * end_y, 2 * (d // 4)], complex64: first the pairs that turn with the column,
        then those that turn with the row.

    Raises:
        ValueError: if `end_x` or `end_y` is no whole number of at least 1.

    Examples:
        >>> table = compute_axial_cis(8, 3, 2)
        >>> tuple(table.shape), table.dtype
        ((6, 4), torch.complex64)

    Upstream: facebookresearch/sam2 sam2/modeling/position_encoding.py
    """
    for name, end in (("end_x", end_x), ("end_y", end_y)):
        if end < 1 or end != int(end):
            raise ValueError(f"{name} must be a whole number of at least 1, got {end}")
    like = torch.empty(0, dtype=torch.float32)
    return torch.complex(*axial_tables(dim, (int(end_x), int(end_y)), theta, scale_pos, like=like))


def apply_rotary_enc(
    xq: Tensor, xk: Tensor, freqs_cis: Tensor, repeat_freqs_k: bool = False
) -> tuple[Tensor, Tensor]:
    """Turn queries and keys by complex numbers of length one.

    Args:
        xq: [B, h, N, d]
        xk: [B, h, M, d]
        freqs_cis: [N, d / 2], unit complex numbers
        repeat_freqs_k: whether the rotations may be used again from the first for M = 2 N, 3 N, … keys.

    Returns:
        The rotated queries, [B, h, N, d], and keys, [B, h, M, d], in their own dtypes. Keys of which there
        are none (M = 0) come back as they are.

    Raises:
        ValueError: if the rotations do not fit the queries, or the keys do not fit the rotations.

    Examples:
        >>> q = torch.ones(1, 1, 4, 8)
        >>> from samblocks.blocks import compute_axial_cis
        >>> turned_q, turned_k = apply_rotary_enc(q, q, compute_axial_cis(8, 2, 2))
        >>> turned_q.shape == q.shape, torch.equal(turned_q, turned_k)
        (True, True)

    Upstream: facebookresearch/sam2 sam2/modeling/position_encoding.py
    """
    queries, keys, pairs = xq.shape[-2], xk.shape[-2], xq.shape[-1] // 2
    if tuple(freqs_cis.shape) != (queries, pairs) or xq.shape[-1] % 2:
        raise ValueError(
            f"freqs_cis must be [{queries}, {pairs}] for xq of shape {tuple(xq.shape)} (an even last size), "
            f"but its shape is {tuple(freqs_cis.shape)}"
        )
    if keys != queries and keys and not (repeat_freqs_k and queries and keys % queries == 0):
        allowed = f"a multiple of {queries}" if repeat_freqs_k else f"{queries} (repeat_freqs_k is False)"
        raise ValueError(f"xk must have {allowed} tokens, or none, but its shape is {tuple(xk.shape)}")
    cos, sin = torch.view_as_real(freqs_cis).unbind(-1)
    return rotate_pairs(xq, cos, sin), rotate_pairs(xk, cos, sin) if keys else xk


def _in_a_graph() -> bool:
    return torch.compiler.is_compiling() or torch._C._is_tracing()


def _product(pairs: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Multiply pairs [..., d / 2, 2] by rotations [rows, d / 2], as complex numbers: one pass instead of six."""
    steps = (*pairs.stride()[:-1], pairs.storage_offset())
    if pairs.stride(-1) != 1 or any(step % 2 for step in steps):  # no complex numbers lie there
        pairs = pairs.clone(memory_format=torch.contiguous_format)
    return torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))


def _product_in_reals(pairs: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Do what `_product` does, without complex numbers."""
    real, imaginary = pairs.unbind(-1)
    return torch.stack((real * cos - imaginary * sin, real * sin + imaginary * cos), dim=-1)


def _angles(dim: int, size: tuple[int, int], theta: float, scale_pos: float, dtype: torch.dtype) -> Tensor:
    """Compute the angle of each pixel and pair on the CPU: [width * height, 2 * (dim // 4)]."""
    width, height = size
    exponents = torch.arange(dim // 4, dtype=dtype, device="cpu") * 4 / dim
    frequencies = 1.0 / (theta**exponents)
    pixel = torch.arange(width * height, device="cpu")
    column = (pixel % width).to(dtype) * scale_pos
    row = torch.div(pixel, width, rounding_mode="floor").to(dtype) * scale_pos
    return torch.cat((torch.outer(column, frequencies), torch.outer(row, frequencies)), dim=-1)


def _cos_sin(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Compute cosine and sine with the bits of `torch.polar`.

    The vectorized cosine and sine differ from those inside `polar` in the last bit. A graph that is traced
    for export must not hold complex numbers, though; there the bits come from float64.
    """
    if _in_a_graph():
        exact = angles.double()
        return exact.cos().to(angles.dtype), exact.sin().to(angles.dtype)
    cos, sin = torch.view_as_real(torch.polar(torch.ones_like(angles), angles)).unbind(-1)
    return cos.contiguous(), sin.contiguous()
