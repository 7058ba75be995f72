"""Fast paths of swapped modules: the same numbers, and the verdict that goes with them."""

from contextvars import Context

import pytest
import torch
from fake_hosts import picture, pipeline
from fake_transformers import decoder, maps

from parity.execution.fill import fill_
from samblocks import swap_blocks
from samblocks.ops.chunking import SMALLEST, use_chunk_sizes
from samblocks.ops.fast_path import plain_paths
from samblocks.swap.hosts.transformers_memory import MemoryAttentionLayer, RoPEAttention


def fast(function, *arguments, **named):
    """Run outside of the fixture that switches fast paths off, with everything cut."""

    def cut():
        with use_chunk_sizes(SMALLEST), torch.no_grad():
            return function(*arguments, **named)

    return Context().run(cut)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("make", "inputs"), [(pipeline, picture), (decoder, maps)])
def test_fast_paths_give_the_numbers_of_the_plain_ones(make, inputs):
    model = make().double()
    given = inputs()
    given = given.double() if isinstance(given, torch.Tensor) else [x.double() for x in given]
    swap_blocks(model)
    with torch.no_grad():
        expected = model(given)
    close(fast(model, given), expected)


def test_the_verdict_is_within_or_better():
    model = pipeline()
    report = swap_blocks(model)
    assert report.verify(picture()).verdict == "EXACT"  # the fixture takes plain paths
    found = fast(report.verify, picture())
    assert found.verdict == "WITHIN"
    assert found.holds


@pytest.mark.parametrize("pointers", [0, 3])
def test_memory_of_transformers(pointers):
    attention = RoPEAttention(16, 1, kv_in_dim=4, rope_k_repeat=True, feat_sizes=(3, 4))
    layer = fill_(MemoryAttentionLayer(16, 24, self_attn=RoPEAttention(16, 1), cross_attn=attention).double())
    layer.eval()
    draw = torch.Generator().manual_seed(2)
    frame, memory, places = (
        torch.randn(2, 1, *shape, generator=draw, dtype=torch.float64)
        for shape in ((12, 16), (24 + pointers, 4), (24 + pointers, 4))
    )
    angles = torch.randn(12, 8, generator=draw, dtype=torch.float64).repeat_interleave(2, dim=-1)[None]
    arguments = (frame, memory, places, (angles.cos(), angles.sin()), pointers)
    with torch.no_grad(), plain_paths():
        expected = layer(*arguments)
    close(fast(layer, *arguments), expected)
