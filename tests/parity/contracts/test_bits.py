"""Bits are demanded where torch's own operations keep them, and only there."""

from threading import get_ident

import pytest
import torch
from torch import Tensor

from parity.contracts import bits
from parity.contracts.bits import bits_may_differ, operations_of, same_numbers


def product() -> list[bits.Operation]:
    x = torch.linspace(-1, 1, 63).reshape(7, 9)
    return operations_of(lambda: torch.nn.functional.relu(x @ x.T))


def test_operations_are_recorded_with_what_they_were_given() -> None:
    found = product()
    assert [str(func) for func, *_ in found[1:]] == ["aten.mm.default", "aten.relu.default"]
    (func, args, kwargs, result) = found[1]
    assert torch.equal(func(*args, **kwargs), result)


def test_what_changes_in_place_or_draws_is_left_out() -> None:
    def run() -> None:
        x = torch.zeros(3)
        x.add_(1)
        torch.rand(3)

    assert [str(func) for func, *_ in operations_of(run)] == ["aten.zeros.default"]


def test_operations_of_data_movement_keep_their_bits() -> None:
    x = torch.linspace(-1, 1, 24).reshape(4, 6)
    assert bits_may_differ(operations_of(lambda: x.T.contiguous().flip(0).abs())) == ""


@pytest.mark.parametrize("by", ["thread", "place"])
def test_an_operation_that_differs_is_named(by: str) -> None:
    here = get_ident()

    def fickle(x: Tensor) -> Tensor:
        elsewhere = get_ident() != here if by == "thread" else x.storage_offset() > 0
        return x * 2 + (1e-3 if elsewhere else 0.0)

    x = torch.ones(3)
    assert "fickle" in bits_may_differ([(fickle, (x,), {}, fickle(x))])


def test_the_same_numbers_are_the_same_function_and_as_precise() -> None:
    exact = torch.linspace(1, 2, 64, dtype=torch.float64)
    alone = exact.float()
    other = torch.nextafter(alone, torch.full((), 3.0))
    assert same_numbers(other, alone, exact, exact)
    assert not same_numbers(other, alone, exact * (1 + 1e-9), exact)
    assert not same_numbers(alone + 1e-4, alone, exact, exact)
