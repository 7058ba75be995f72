"""Attention, heads, norms and linear layers in their one home."""

import math

import pytest
import torch
from torch import nn

from parity.execution import fill
from samblocks.ops.attend import attend, merge_heads, split_heads
from samblocks.ops.linear import linear
from samblocks.ops.norm import layer_norm, layer_norm_2d
from samblocks.ops.precision import at_least_float32


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("with_bias", [False, True])
def test_attention_against_loops(scale: float | None, with_bias: bool) -> None:
    q, k = fill.tensor("q", (2, 2, 3, 4), torch.float64), fill.tensor("k", (2, 2, 5, 4), torch.float64)
    v = fill.tensor("v", (2, 2, 5, 6), torch.float64)
    bias = fill.tensor("bias", (2, 2, 3, 5), torch.float64) if with_bias else None
    found = attend(q, k, v, bias=bias, scale=scale)
    for b in range(2):
        for h in range(2):
            for n in range(3):
                scores = [
                    float(q[b, h, n] @ k[b, h, m]) * (scale or 1 / math.sqrt(4))
                    + (float(bias[b, h, n, m]) if bias is not None else 0.0)
                    for m in range(5)
                ]
                total = sum(map(math.exp, scores))
                expected = sum(math.exp(s) / total * v[b, h, m] for m, s in enumerate(scores))
                torch.testing.assert_close(found[b, h, n], expected)


def test_nothing_is_dropped_unless_asked_for() -> None:
    q = fill.tensor("q", (1, 1, 4, 8))
    assert torch.equal(attend(q, q, q), attend(q, q, q))
    assert torch.equal(attend(q, q, q, dropout_p=1.0), torch.zeros(1, 1, 4, 8))


def test_heads_are_groups_of_adjacent_channels() -> None:
    x = fill.tensor("x", (2, 3, 8))
    heads = split_heads(x, 4)
    assert torch.equal(heads[1, 2, 0], x[1, 0, 4:6])
    assert torch.equal(merge_heads(heads), x)


def test_layers_are_called_so_that_hooks_see_them() -> None:
    x = fill.tensor("x", (2, 4))
    for apply, layer in ((linear, nn.Linear(4, 4)), (layer_norm, nn.LayerNorm(4))):
        layer.register_forward_hook(lambda module, inputs, output: output + 1)
        assert torch.equal(apply(layer, x), layer(x))
        assert not torch.equal(apply(layer, x), layer.forward(x))


def test_norm_over_channels_uses_the_biased_variance() -> None:
    x = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    one = torch.ones(3, dtype=torch.float64)
    found = layer_norm_2d(x, one * 2, one, eps=0.5).flatten()
    expected = (x.flatten() - 3) / math.sqrt(14 / 3 + 0.5) * 2 + 1
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int64, torch.float32),
        (torch.bool, torch.float32),
    ],
)
def test_encodings_are_computed_in_float32_or_wider(given: torch.dtype, computed: torch.dtype) -> None:
    assert at_least_float32(given) == computed
