"""Windows against loops, and there and back again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.execution import fill
from samblocks.ops.windows import window_partition, window_unpartition


@settings(max_examples=40, deadline=None)
@given(batch=st.integers(0, 3), height=st.integers(1, 9), width=st.integers(1, 9), side=st.integers(1, 10))
def test_windows_against_loops(batch: int, height: int, width: int, side: int) -> None:
    x = fill.tensor("x", (batch, height, width, 2))
    windows, (padded_h, padded_w) = window_partition(x, side)
    assert (padded_h, padded_w) == (-(-height // side) * side, -(-width // side) * side)
    expected = []
    for item in x:
        for top in range(0, height, side):
            for left in range(0, width, side):
                window = torch.zeros(side, side, 2)
                part = item[top : top + side, left : left + side]
                window[: part.shape[0], : part.shape[1]] = part
                expected.append(window)
    assert torch.equal(windows, torch.stack(expected) if expected else torch.zeros(0, side, side, 2))
    back = window_unpartition(windows, side, (padded_h, padded_w), (height, width))
    assert torch.equal(back, x)


def test_the_padding_is_cut_off_and_the_result_is_contiguous() -> None:
    x = fill.tensor("x", (1, 5, 7, 2))
    windows, pad_hw = window_partition(x, 4)
    windows = windows.transpose(1, 2).contiguous().transpose(1, 2)
    back = window_unpartition(windows, 4, pad_hw, (5, 7))
    assert back.is_contiguous()
    assert torch.equal(back, x)


def test_wrong_arguments_are_named() -> None:
    x = torch.zeros(1, 4, 4, 2)
    windows, pad_hw = window_partition(x, 2)
    with pytest.raises(ValueError, match="window_size must be at least 1, got 0"):
        window_partition(x, 0)
    with pytest.raises(ValueError, match="window_size must be at least 1, got 0"):
        window_unpartition(windows, 0, pad_hw, (4, 4))
    with pytest.raises(ValueError, match=r"x must be \[B, H, W, C\].*\(4, 4, 2\)"):
        window_partition(x[0], 2)
    with pytest.raises(ValueError, match=r"pad_hw .* window_size 2, got \(5, 4\)"):
        window_unpartition(windows, 2, (5, 4), (4, 4))
    with pytest.raises(ValueError, match=r"windows must be \[B \* windows, 4, 4, C\]"):
        window_unpartition(windows, 4, pad_hw, (4, 4))
    with pytest.raises(ValueError, match=r"windows must be a multiple of 2 x 2 .*, got 3"):
        window_unpartition(windows[:3], 2, pad_hw, (4, 4))
