"""Lifting: code that asks for float32 by name runs in float64, and what cannot be lifted is noticed."""

import pytest
import torch
from torch import Tensor, nn

from samblocks.numerics.float64 import LeakError, lifted


class HardCoded(nn.Module):
    """Asks for narrow types in the ways upstream code does."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.table = torch.polar(torch.ones(4), torch.arange(4, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.float().reshape(-1, 2, 2)) * self.table[:2]
        back = torch.view_as_real(pairs).flatten(1).type_as(x)
        grid = torch.linspace(0, 1, 4, dtype=torch.float) + torch.zeros(4).to(torch.float32)
        return self.linear(back) + grid.to(dtype=torch.bfloat16) + torch.arange(4).half()


def test_hard_coded_casts_are_answered_with_float64() -> None:
    with lifted():
        module = HardCoded()
        x = torch.rand(3, 4)
        y = module(x)
    assert module.table.dtype is torch.complex128
    assert module.linear.weight.dtype is torch.float64
    assert y.dtype is torch.float64
    expected = torch.view_as_real(
        torch.view_as_complex(x.reshape(-1, 2, 2)) * torch.exp(1j * torch.arange(2).double())
    )
    wide = expected.flatten(1) @ module.linear.weight.T + module.linear.bias
    wide = wide + torch.linspace(0, 1, 4, dtype=torch.float64) + torch.arange(4)
    assert (y - wide).abs().max() < 1e-15


def test_a_leak_is_an_error() -> None:
    narrow = torch.ones(2)
    with pytest.raises(LeakError, match="float32"), lifted():
        _ = narrow + 1


def test_the_default_type_is_restored() -> None:
    with lifted():
        assert torch.get_default_dtype() is torch.float64
    assert torch.get_default_dtype() is torch.float32


def test_a_narrow_table_that_is_only_read_is_a_leak_too() -> None:
    module = HardCoded().double()  # converting keeps the complex64 table, and with it float32's error
    x = torch.rand(3, 4, dtype=torch.float64)
    with pytest.raises(LeakError, match="complex64"), lifted():
        module(x)
