"""Sine encodings of positions: of the pixels of a map, of points, of distances in time."""

from __future__ import annotations  # torch 2.6 cannot trace annotations of functions inside functions

import torch
from torch import Tensor

from samblocks.ops.cache import TableCache
from samblocks.ops.precision import at_least_float32

_grids = TableCache(capacity=16)


def sine_periods(count: int, temperature: float, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Compute the periods of an encoding, in pairs from 1 towards `temperature`.

    Args:
        count: number of periods.
        temperature: the longest period that is approached.
        dtype: dtype to compute in, float32 or float64.
        device: device of the result.

    Returns:
        temperature ** (2 * floor(i / 2) / count) for each i: [count].

    Examples:
        >>> sine_periods(4, 100, dtype=torch.float32, device=torch.device("cpu")).tolist()
        [1.0, 1.0, 10.0, 10.0]
    """
    index = torch.arange(count, dtype=dtype, device=device)
    periods: Tensor = temperature ** (2 * torch.div(index, 2, rounding_mode="floor") / count)
    return periods


def sine_interleaved(positions: Tensor, count: int, temperature: float) -> Tensor:
    """Encode positions as sine and cosine in turn.

    Args:
        positions: [...], float32 or float64
        count: number of channels, even.
        temperature: see `sine_periods`.

    Returns:
        The encoding: [..., count].

    Examples:
        >>> sine_interleaved(torch.zeros(1), 4, 10000).tolist()
        [[0.0, 1.0, 0.0, 1.0]]
    """
    periods = sine_periods(count, temperature, dtype=positions.dtype, device=positions.device)
    angles = positions[..., None] / periods
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1).flatten(-2)


def sine_grid(
    size: tuple[int, int],
    count: int,
    temperature: float,
    scale: float | None,
    *,
    like: Tensor,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Encode the pixels of a map by row and column. The result is a cached table: copy it.

    Args:
        size: (height, width) of the map.
        count: number of channels per axis, even.
        temperature: see `sine_periods`.
        scale: None encodes the numbers 1, 2, … of rows and columns; else these are divided by the last
            one and multiplied by `scale`.
        like: [..., H, W], the map, for device and dtype
        dtype: to compute in; float64 if `like` is that, else float32, where None.

    Returns:
        The rows' channels, then the columns': [2 * count, H, W], in the dtype that it is computed in.

    Examples:
        >>> tuple(sine_grid((2, 3), 4, 10000, None, like=torch.zeros(2, 3)).shape)
        (8, 2, 3)
    """
    dtype, device = dtype or at_least_float32(like.dtype), like.device

    def encode_axis(length: int) -> Tensor:
        positions = torch.arange(1, length + 1, dtype=dtype, device=device)
        if scale is not None:
            positions = positions / (positions[-1:] + 1e-6) * scale
        return sine_interleaved(positions, count, temperature)

    def make() -> tuple[Tensor]:
        height, width = size
        rows = encode_axis(height)[:, None, :].expand(height, width, count)
        columns = encode_axis(width)[None, :, :].expand(height, width, count)
        return (torch.cat((rows, columns), dim=-1).permute(2, 0, 1).contiguous(),)

    return _grids.get((size, count, temperature, scale, dtype, device), make, like=like)[0]


def get_1d_sine_pe(pos_inds: Tensor, dim: int, temperature: float = 10000) -> Tensor:
    """Encode positions on a line: all sines first, then all cosines.

    Args:
        pos_inds: [...], positions of any dtype
        dim: number of channels; an odd number gives one less.
        temperature: the longest period that is approached.

    Returns:
        The encoding, [..., 2 * (dim // 2)], float64 for float64 positions, else float32.

    Examples:
        >>> get_1d_sine_pe(torch.tensor([0, 1]), 4)[0].tolist()
        [0.0, 0.0, 1.0, 1.0]

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_utils.py
    """
    dtype = at_least_float32(pos_inds.dtype)
    periods = sine_periods(dim // 2, temperature, dtype=dtype, device=pos_inds.device)
    angles = pos_inds.to(dtype)[..., None] / periods
    return torch.cat((angles.sin(), angles.cos()), dim=-1)
