"""The operations between layouts: shapes, values, inverses, and what they refuse."""

import math

import pytest
import torch
from torch import Tensor

from samblocks.errors import LayoutError
from samblocks.layouts import TensorInfo
from samblocks.layouts.operations import (
    IDENTITY,
    Axes,
    Create,
    Deduplicate,
    Drop,
    Duplicate,
    Operation,
    Pack,
    Unpack,
)
from samblocks.layouts.tensors import TORCH_DTYPES, describe


def info(*shape: int, dtype: str = "F32") -> TensorInfo:
    return TensorInfo(shape, dtype)


def numbered(info: TensorInfo, start: int) -> Tensor:
    """A tensor whose elements count up from a number."""
    values = torch.arange(start, start + math.prod(info.shape))
    return values.reshape(info.shape).to(TORCH_DTYPES[info.dtype])


BOTH_DIRECTIONS = pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        (IDENTITY, [info(3, 5)], [info(3, 5)]),
        (Axes("c", "1 c 1 1"), [info(7)], [info(1, 7, 1, 1)]),
        (Axes("1 h w c", "1 c h w"), [info(1, 2, 3, 4)], [info(1, 4, 2, 3)]),
        (Axes("o i", "o i 1 1"), [info(2, 3, dtype="BF16")], [info(2, 3, 1, 1, dtype="BF16")]),
        (Axes("1 1 c", "1 c 1 1"), [info(1, 1, 9)], [info(1, 9, 1, 1)]),
        (Pack(4), [info(1, 6)] * 4, [info(4, 6)]),
        (Unpack(2), [info(6, 3, dtype="F16")], [info(3, 3, dtype="F16")] * 2),
        (Duplicate(2), [info(2, 8)], [info(2, 8)] * 2),
        (Deduplicate(2), [info(2, 8)] * 2, [info(2, 8)]),
    ],
)


@BOTH_DIRECTIONS
def test_shapes_follow_and_come_back(
    operation: Operation, before: list[TensorInfo], after: list[TensorInfo]
) -> None:
    assert list(operation.infer(before)) == after
    inverse = operation.inverse
    assert inverse is not None
    assert list(inverse.infer(after)) == before
    assert inverse.inverse == operation


@BOTH_DIRECTIONS
def test_values_get_the_shapes_that_were_inferred_and_come_back(
    operation: Operation, before: list[TensorInfo], after: list[TensorInfo]
) -> None:
    inputs = [numbered(info, 10 * place) for place, info in enumerate(before)]
    if isinstance(operation, Deduplicate):
        inputs = inputs[:1] * len(inputs)
    outputs = operation.apply(inputs, "abcd"[: len(inputs)])
    assert list(describe(dict(zip("abcd", outputs, strict=False))).values()) == after
    assert operation.inverse is not None
    back = operation.inverse.apply(outputs, "abcd"[: len(outputs)])
    assert all(torch.equal(value, again) for value, again in zip(inputs, back, strict=True))


def test_a_difference_of_copies_is_refused_with_their_names() -> None:
    with pytest.raises(LayoutError, match=r"left and right must be copies"):
        Deduplicate(2).apply([torch.zeros(3), -torch.zeros(3)], ["left", "right"])


@pytest.mark.parametrize(
    ("operation", "inputs"),
    [
        (Axes("c", "1 c 1 1"), [info(7, 1)]),
        (Axes("1 1 c", "1 c 1 1"), [info(1, 2, 9)]),
        (Axes("c", "1 c 1 1"), [info()]),
        (Pack(4), [info(1, 6), info(1, 6), info(1, 6), info(1, 5)]),
        (Pack(2), [info(1, 6), info(1, 6, dtype="F16")]),
        (Pack(2), [info(), info()]),
        (Unpack(4), [info(6, 3)]),
        (Unpack(4), [info(0, 3)]),
        (Unpack(4), [info()]),
        (Deduplicate(2), [info(2, 8), info(8, 2)]),
        (Deduplicate(2), [info(2, 8), info(2, 8, dtype="F64")]),
    ],
)
def test_tensors_that_do_not_fit_are_refused(operation: Operation, inputs: list[TensorInfo]) -> None:
    with pytest.raises(LayoutError, match="shape"):
        operation.infer(inputs)


@pytest.mark.parametrize(("before", "after"), [("c", "1 d 1 1"), ("h w", "h"), ("h h", "h h")])
def test_axes_must_be_the_same_on_both_sides(before: str, after: str) -> None:
    with pytest.raises(LayoutError, match="same axes"):
        Axes(before, after)


def test_what_is_dropped_comes_back_only_if_it_says_as_what() -> None:
    made = Create("zeros", info(1, 1, 256))
    assert Drop().inverse is None
    assert Drop(made).inverse == made
    assert made.inverse == Drop(made)
    assert Drop(made).infer([info(1, 1, 256)]) == ()
    assert made.infer([]) == (info(1, 1, 256),)
