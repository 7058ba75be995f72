"""Cubic interpolation by products: torch's own values, in fewer steps."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from parity.execution.fill import tensor
from samblocks import plain_paths
from samblocks.ops.bicubic import resize_bicubic


def by_torch(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bicubic")


@pytest.mark.parametrize("shape", [(7, 7), (14, 14), (5, 9), (1, 1)])
@pytest.mark.parametrize("size", [(64, 32), (7, 7), (3, 50), (1, 1)])
def test_it_rounds_as_little_as_torch(shape: tuple[int, int], size: tuple[int, int]) -> None:
    x = tensor("x", (2, 3, *shape))
    exact = by_torch(x.double(), size)
    torch.testing.assert_close(resize_bicubic(x.double(), size), exact, rtol=0.0, atol=1e-14)
    error, torchs = ((found - exact).norm() for found in (resize_bicubic(x, size), by_torch(x, size)))
    assert error <= 2 * torchs + 1e-7 * exact.norm()


def test_it_is_torchs_own_where_bits_or_gradients_are_asked_for() -> None:
    x = tensor("x", (1, 3, 7, 7))
    with plain_paths():
        assert torch.equal(resize_bicubic(x, (64, 32)), by_torch(x, (64, 32)))
    x.requires_grad_()
    assert torch.equal(resize_bicubic(x, (64, 32)), by_torch(x, (64, 32)))
