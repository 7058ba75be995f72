"""Random Fourier features of points of the unit square."""

import math

import torch
from torch import Tensor

from samblocks.ops.precision import at_least_float32


def fourier_features(coords: Tensor, matrix: Tensor) -> Tensor:
    """Encode points by sines and cosines along random directions.

    Args:
        coords: [..., 2], (x, y) from 0 to 1, of any dtype
        matrix: [2, F], the directions and their frequencies

    Returns:
        All sines, then all cosines: [..., 2 * F], computed in at least float32, in the dtype of `matrix`; where
        autocast computes the angles, in its dtype.

    Examples:
        >>> fourier_features(torch.tensor([[0.5, 0.5]]), torch.ones(2, 3)).tolist()
        [[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]
    """
    dtype = at_least_float32(matrix.dtype)
    angles = 2 * math.pi * ((2 * coords.to(dtype) - 1) @ matrix.to(dtype))
    features = torch.cat((angles.sin(), angles.cos()), dim=-1)
    return features.to(matrix.dtype) if angles.dtype == dtype else features


def pixel_centres(size: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Give the centres of a map's pixels in the unit square.

    Args:
        size: (height, width) of the map.
        dtype: dtype of the result.
        device: device of the result.

    Returns:
        (x, y) of each pixel: [H, W, 2].

    Examples:
        >>> pixel_centres((1, 2), dtype=torch.float32, device=torch.device("cpu")).tolist()
        [[[0.25, 0.5], [0.75, 0.5]]]
    """
    height, width = size
    y = (torch.arange(height, dtype=dtype, device=device) + 0.5) / height
    x = (torch.arange(width, dtype=dtype, device=device) + 0.5) / width
    return torch.stack((x[None, :].expand(height, width), y[:, None].expand(height, width)), dim=-1)
