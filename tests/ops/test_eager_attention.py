"""Attention in steps: the bits of the written-out formulas, with and without gradients, in chunks or whole."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from parity.execution import fill
from parity.execution.training import Injected
from samblocks.blocks import Attention, LayerNorm2d, REAttention, RoPEAttention
from samblocks.ops import eager_attention as home
from samblocks.ops.attend import attend
from samblocks.ops.chunking import SMALLEST, ChunkSizes, use_chunk_sizes
from samblocks.ops.rel_pos import add_decomposed_rel_pos


def _qkv(*shape: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    batch, heads, queries, width = shape
    return (
        torch.randn(batch, heads, queries, width, generator=generator),
        torch.randn(batch, heads, keys, width, generator=generator),
        torch.randn(batch, heads, keys, width, generator=generator),
    )


FORMULAS = {
    "divide": lambda q, k, v: ((q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])).softmax(-1) @ v,
    "scale_queries": lambda q, k, v: ((q * 0.3) @ k.transpose(-2, -1)).softmax(-1) @ v,
    "scale_scores": lambda q, k, v: ((q @ k.transpose(-2, -1)) * 0.3).softmax(-1) @ v,
}


@pytest.mark.parametrize("implementation", FORMULAS)
@pytest.mark.parametrize("heads", [1, 2, 6])
def test_bits_are_those_of_the_formula(implementation: home.Implementation, heads: int) -> None:
    q, k, v = _qkv(2, 3, 9, 12, keys=17)
    with use_chunk_sizes(ChunkSizes(scores=heads * 9 * 17 * 4)):
        assert torch.equal(
            attend(q, k, v, scale=0.3, implementation=implementation), FORMULAS[implementation](q, k, v)
        )


@pytest.mark.parametrize("implementation", FORMULAS)
@pytest.mark.parametrize("queries", [1, 2, 4])
def test_some_queries_at_a_time(implementation: home.Implementation, queries: int) -> None:
    q, k, v = (x.double() for x in _qkv(2, 3, 9, 12, keys=17))
    biases = (torch.linspace(-1, 1, 3 * 9 * 17, dtype=torch.float64).reshape(1, 3, 9, 17), 0.5 * q[..., :1])
    expected = home.eager_attention(q, k, v, implementation=implementation, biases=biases)
    with use_chunk_sizes(ChunkSizes(scores=queries * 17 * 8)):
        found = home.eager_attention(q, k, v, implementation=implementation, biases=biases)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


def test_biases_for_all_queries_leave_them_whole() -> None:
    q, k, v = (x.double() for x in _qkv(1, 2, 6, 4, keys=5))
    everywhere, by_query = torch.ones(1, 2, 1, 5).double(), torch.arange(12.0).double().reshape(1, 2, 6, 1)
    expected = (q @ k.mT * 0.3 + everywhere + by_query).softmax(-1) @ v
    with use_chunk_sizes(SMALLEST):
        found = home.eager_attention(
            q, k, v, implementation="scale_scores", biases=(everywhere, by_query), scale=0.3
        )
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("implementation", FORMULAS)
def test_gradients_are_those_of_the_formula(implementation: home.Implementation) -> None:
    found, expected = ([x.double().requires_grad_() for x in _qkv(1, 2, 5, 8, keys=6)] for _ in range(2))
    attend(*found, scale=0.3, implementation=implementation).square().sum().backward()
    FORMULAS[implementation](*expected).square().sum().backward()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


def test_inputs_are_left_alone() -> None:
    q, k, v = _qkv(1, 2, 4, 8, keys=4)
    bias = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    before = [x.clone() for x in (q, k, v, bias)]
    attend(q, k, v, bias=bias, implementation="scale_scores")
    assert all(torch.equal(a, b) for a, b in zip(before, (q, k, v, bias), strict=True))


def test_relative_positions_are_added_one_after_the_other() -> None:
    attention = REAttention(24, num_heads=3, use_rel_pos=True, input_size=(4, 6)).eval()
    for index, tensor in enumerate(attention.state_dict().values()):
        tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(index)))
    attention.implementation = "scale_queries"
    x = torch.randn(2, 4, 6, 24, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        qkv = attention.qkv(x).reshape(2, 24, 3, 3, 8).permute(2, 0, 3, 1, 4).reshape(3, 6, 24, 8)
        q, k, v = qkv.unbind(0)
        scores = (q * attention.scale) @ k.transpose(-2, -1)
        scores = add_decomposed_rel_pos(scores, q, attention.rel_pos_h, attention.rel_pos_w, (4, 6), (4, 6))
        out = (scores.softmax(-1) @ v).reshape(2, 3, 4, 6, 8).permute(0, 2, 3, 1, 4).reshape(2, 4, 6, 24)
        assert torch.equal(attention(x), attention.proj(out))
        fused = REAttention(24, num_heads=3, use_rel_pos=True, input_size=(4, 6)).eval()
        fused.load_state_dict(attention.state_dict())
        torch.testing.assert_close(fused(x), attention(x), rtol=1e-4, atol=1e-4)
    # With gradients the other branch runs, on the same numbers.
    torch.testing.assert_close(attention(x.requires_grad_()), attention(x.detach()), rtol=1e-6, atol=1e-6)


def test_weights_are_dropped_in_training_alone() -> None:
    attention = Attention(16, 2, dropout=0.9)
    attention.implementation = "divide"
    q = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(attention(q, q, q), attention(q, q, q))
    attention.eval()
    assert torch.equal(attention(q, q, q), attention(q, q, q))


def test_norm_in_steps_is_the_two_pass_formula() -> None:
    norm = LayerNorm2d(6, eps=1e-3)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(1.0, 7.0))
        norm.bias.copy_(torch.arange(6.0) / 3)
    norm.in_steps = True
    x = torch.randn(2, 6, 5, 4, generator=torch.Generator().manual_seed(5)) * 3 + 1
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    expected = (
        norm.weight[:, None, None] * ((x - mean) / torch.sqrt(variance + 1e-3)) + norm.bias[:, None, None]
    )
    assert torch.equal(norm(x), expected)
    norm.in_steps = False
    torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("implementation", ["fused", *FORMULAS])
def test_whole_weights_are_dropped_and_the_others_made_up_for(
    implementation: home.Implementation, with_bias: bool
) -> None:
    """With one value a key the outputs are the weights themselves: each is dropped, or divided by its chance."""
    q, k, _ = (x.double() for x in _qkv(2, 3, 40, 12, keys=50))
    each = torch.eye(50, dtype=torch.float64).expand(2, 3, 50, 50)
    bias = (
        torch.linspace(-2, 2, 3 * 40 * 50, dtype=torch.float64).reshape(1, 3, 40, 50) if with_bias else None
    )
    torch.manual_seed(3)
    found = attend(q, k, each, bias=bias, implementation=implementation, dropout_p=0.3)
    whole = attend(q, k, each, bias=bias, implementation="fused")
    kept = found != 0
    torch.testing.assert_close(found[kept], whole[kept] / 0.7, rtol=1e-12, atol=1e-15)
    assert abs(float(kept.double().mean()) - 0.7) < 0.02
    assert not torch.equal(kept[0], kept[1])
    again = attend(q, k, each, bias=bias, implementation=implementation, dropout_p=0.3)
    assert not torch.equal(again != 0, kept)


class EqualPlaces(Injected):
    """Drops equal places whatever the axes: some forms keep heads apart, and some do not."""

    def _draw(self, like: Tensor) -> np.ndarray:
        self.drawn += 1
        return fill.uniform(f"draw {self.drawn}", (like.numel(),), 0.0, 1.0).reshape(like.shape)


@pytest.mark.parametrize("kind", [Attention, partial(RoPEAttention, feat_sizes=(4, 3))])
@pytest.mark.parametrize("implementation", ["divide", "scale_queries", "scale_scores"])
def test_equal_places_are_dropped_in_every_form(
    kind: Callable[..., Attention], implementation: home.Implementation
) -> None:
    attention = fill.fill_(kind(16, 2, dropout=0.4).double())
    x = _qkv(2, 1, 12, 16, keys=1)[0][:, 0].double()
    for training in (True, False):
        results = []
        for form in ("fused", implementation):
            attention.train(training).zero_grad()
            attention.implementation = form
            with EqualPlaces() as draws:
                out = attention(x, x.flip(1), x)
            out.square().sum().backward()
            results.append((out.detach(), *(p.grad.clone() for p in attention.parameters())))
            assert draws.drawn == int(training)
        torch.testing.assert_close(*results, rtol=1e-11, atol=1e-11)
