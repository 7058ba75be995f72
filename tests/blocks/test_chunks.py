"""Work in chunks of every size: the plain path's numbers, on drawn maps and at the sizes of the released models."""

from collections.abc import Callable
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from parity.execution import fill
from samblocks.blocks import Block, MemoryAttentionLayer, MultiScaleBlock, RoPEAttention, TwoWayTransformer
from samblocks.models import VARIANTS, build
from samblocks.models.sam1.mask_decoder import MaskDecoder
from samblocks.models.sam2.memory import MemoryAttention, MemoryEncoder
from samblocks.ops import chunking
from samblocks.ops.attend_narrow import attend_narrow
from samblocks.ops.attend_with_rel_pos import attend_with_rel_pos
from samblocks.ops.chunking import RAGGED, SMALLEST, ChunkSizes, rows_at_once, use_chunk_sizes
from samblocks.ops.eager_attention import eager_attention
from samblocks.ops.fast_path import plain_paths

DOUBLE = torch.float64

USUAL = ChunkSizes()
"""What 32 MB of cache give, and not this machine's: the expected chunks are written out below."""

drawn = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.differing_executors]
)

SIZES = st.builds(
    ChunkSizes,
    left_whole=st.just(0),
    chunk=st.integers(1, 40_000),
    scores=st.integers(1, 8_000),
    tokens=st.integers(1, 90),
    tile=st.integers(1, 12),
    prompts=st.integers(1, 4),
)
SIDES = st.integers(1, 21)


def draw(name: str, *shape: int) -> Tensor:
    return fill.tensor(name, shape, DOUBLE)


@cache
def made(kind: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    return fill.fill_(kind(*args, **kwargs).to(DOUBLE)).eval()


def agree(function: Callable[..., Any], *inputs: Any, sizes: ChunkSizes) -> None:
    """Cut or not, the numbers are the same."""
    with torch.no_grad():
        with plain_paths():
            plain = function(*inputs)
        with use_chunk_sizes(sizes):
            cut = function(*inputs)
    torch.testing.assert_close(cut, plain, rtol=1e-12, atol=1e-12)


@drawn
@given(height=SIDES, width=SIDES, batch=st.integers(1, 2), side=st.integers(1, 9), sizes=SIZES)
def test_rows_of_a_chunk_are_whole_windows(
    height: int, width: int, batch: int, side: int, sizes: ChunkSizes
) -> None:
    with use_chunk_sizes(sizes):
        rows = rows_at_once(torch.empty(batch, height, width, 8), channels=32, side=side)
    assert rows == height or (rows % side == 0 and side <= rows < height)


@drawn
@given(
    height=SIDES,
    width=SIDES,
    batch=st.integers(1, 2),
    window=st.integers(1, 7),
    stride=st.sampled_from([None, 2]),
    dim_out=st.sampled_from([8, 16]),
    sizes=SIZES,
)
def test_blocks_of_hiera(
    height: int, width: int, batch: int, window: int, stride: int | None, dim_out: int, sizes: ChunkSizes
) -> None:
    if stride is not None:
        assume(height >= stride and width >= stride)
        window *= stride
    strides = None if stride is None else (stride, stride)
    block = made(MultiScaleBlock, 8, dim_out, 2, window_size=window, q_stride=strides)
    agree(block, draw("x", batch, height, width, 8), sizes=sizes)


@drawn
@given(height=SIDES, width=SIDES, batch=st.integers(1, 2), window=st.integers(0, 7), sizes=SIZES)
def test_blocks_of_the_vit(height: int, width: int, batch: int, window: int, sizes: ChunkSizes) -> None:
    block = made(Block, 8, 2, window_size=window, use_rel_pos=True, input_size=(9, 6))
    agree(block, draw("x", batch, height, width, 8), sizes=sizes)


@drawn
@given(tokens=SIDES, keys=SIDES, batch=st.integers(1, 3), sizes=SIZES)
def test_narrow_values(tokens: int, keys: int, batch: int, sizes: ChunkSizes) -> None:
    q, k, v = draw("q", batch, tokens, 8), draw("k", batch, keys, 8), draw("v", batch, keys, 3)
    expected = (q @ k.mT * 8**-0.5).softmax(-1) @ v
    with use_chunk_sizes(sizes):
        torch.testing.assert_close(attend_narrow(q, k, v), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("larger", [0.0, 40.0, 100.0, 1e4])
def test_narrow_values_of_scores_that_rise(larger: float) -> None:
    """The first tile's largest score stands in for that of all: also where weights by it overflow."""
    q, k, v = draw("q", 1, 6, 8), draw("k", 1, 15, 8), draw("v", 1, 15, 3)
    q[..., 0], k[..., 0] = 8**0.5, torch.arange(15.0) * larger / 14
    expected = (q @ k.mT * 8**-0.5).softmax(-1) @ v
    for dtype, close in ((torch.float64, 1e-12), (torch.float32, 1e-3)):
        with use_chunk_sizes(RAGGED):
            found = attend_narrow(q.to(dtype), k.to(dtype), v.to(dtype))
        torch.testing.assert_close(found.double(), expected, rtol=close, atol=close)


@drawn
@given(
    objects=st.integers(1, 5),
    one_frame=st.booleans(),
    at_input=st.booleans(),
    with_pos=st.booleans(),
    batch_first=st.booleans(),
    sizes=SIZES,
)
def test_objects_that_read_their_memory(
    objects: int, one_frame: bool, at_input: bool, with_pos: bool, batch_first: bool, sizes: ChunkSizes
) -> None:
    layer = made(
        MemoryAttentionLayer,
        8,
        16,
        self_attn=made(RoPEAttention, 8, 1, feat_sizes=(3, 3)),
        cross_attn=made(RoPEAttention, 8, 1, kv_in_dim=4, rope_k_repeat=True, feat_sizes=(3, 3)),
    )
    attention = made(MemoryAttention, 8, at_input, layer, 2, batch_first)
    frames = 1 if one_frame else objects
    curr, pos = (draw(name, 9, frames, 8).expand(-1, objects, -1) for name in ("curr", "pos"))
    memory, memory_pos = draw("memory", 20, objects, 4), draw("memory_pos", 20, objects, 4)
    if not batch_first:
        curr, pos, memory, memory_pos = (x.transpose(0, 1) for x in (curr, pos, memory, memory_pos))
    agree(attention, curr, memory, pos if with_pos else None, memory_pos, 2, sizes=sizes)


def test_objects_of_one_frame_look_at_it_once() -> None:
    layer = made(MemoryAttentionLayer, 8, 16)
    attention = made(MemoryAttention, 8, True, layer, 2)
    seen: list[tuple[int, ...]] = []

    class Watched(RoPEAttention):
        def forward(self, q: Tensor, k: Tensor, v: Tensor, num_k_exclude_rope: int = 0) -> Tensor:
            seen.append(tuple(q.shape))
            return super().forward(q, k, v, num_k_exclude_rope)

    Watched.__module__ = RoPEAttention.__module__
    for part in attention.layers:
        part.self_attn.__class__ = Watched
    curr, memory = draw("curr", 9, 1, 8).expand(-1, 4, -1), draw("memory", 9, 4, 64)
    try:
        with torch.no_grad(), use_chunk_sizes(SMALLEST):
            attention(curr, memory, curr)
    finally:
        for part in attention.layers:
            part.self_attn.__class__ = RoPEAttention
    assert seen == [(1, 9, 8)] * 5  # the first layer once, the second one for each object


@drawn
@given(objects=st.integers(1, 4), one_map=st.booleans(), finished=st.booleans(), sizes=SIZES)
def test_objects_that_are_remembered(objects: int, one_map: bool, finished: bool, sizes: ChunkSizes) -> None:
    encoder = made(MemoryEncoder, 4, 16)
    maps, masks = draw("maps", 1 if one_map else objects, 16, 2, 2), draw("masks", objects, 1, 32, 32)
    agree(lambda *given: encoder(*given, finished)["vision_features"], maps, masks, sizes=sizes)


@drawn
@given(
    height=SIDES,
    width=st.integers(1, 6),
    heads=st.integers(1, 3),
    implementation=st.sampled_from(["fused", "scale_queries", "scale_scores", "divide"]),
    sizes=SIZES,
)
def test_relative_positions(
    height: int, width: int, heads: int, implementation: Any, sizes: ChunkSizes
) -> None:
    q, k, v = (draw(name, 2, heads, height * width, 4) for name in "qkv")
    rows = draw("rows", 2, heads, height, width, height, 1)
    columns = draw("columns", 2, heads, height, width, 1, width)

    def attend(*inputs: Tensor) -> Tensor:
        return attend_with_rel_pos(*inputs, scale=0.5, implementation=implementation)

    agree(attend, q, k, v, rows, columns, sizes=sizes)


@drawn
@given(tokens=SIDES, keys=SIDES, heads=st.integers(1, 4), with_bias=st.booleans(), sizes=SIZES)
def test_attention_in_steps(tokens: int, keys: int, heads: int, with_bias: bool, sizes: ChunkSizes) -> None:
    q, k, v = draw("q", 2, heads, tokens, 4), draw("k", 2, heads, keys, 4), draw("v", 2, heads, keys, 4)
    biases = (draw("bias", 1, heads, tokens, keys),) if with_bias else ()
    agree(
        lambda *inputs: eager_attention(*inputs, implementation="divide", biases=biases), q, k, v, sizes=sizes
    )


@drawn
@given(prompts=st.integers(1, 9), images=st.booleans(), sizes=SIZES)
def test_prompts_of_a_decoder(prompts: int, images: bool, sizes: ChunkSizes) -> None:
    decoder = made(MaskDecoder, 8, made(TwoWayTransformer, 1, 8, 2, 16))
    inputs = (
        draw("images", prompts if images else 1, 8, 3, 2),
        draw("places", 1, 8, 3, 2),
        draw("sparse", prompts, 2, 8),
        draw("dense", 1, 8, 3, 2),
    )
    agree(lambda *given: decoder(*given, multimask_output=True), *inputs, sizes=sizes)


# ---- sizes of released models: the windows, heads, tokens and chunks of these, but channels a fraction as wide


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, home: str) -> Any:
    """The rows of each chunk that `in_chunks`, as the module `home` calls it, hands on."""
    seen: list[int] = []

    def watched(module: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor, step: int) -> Tensor:
        def noted(part: Tensor) -> Tensor:
            seen.append(part.shape[1])
            return function(part)

        return chunking.in_chunks(module, noted, x, step)

    with monkeypatch.context() as patch:
        patch.setattr(f"{home}.in_chunks", watched)
        yield seen


def scaled(narrow: int, wide: int) -> ChunkSizes:
    """Chunks of float64 and `narrow` channels that hold as many tokens as those of float32 and `wide` channels."""
    size = 8 * narrow / (4 * wide)
    return ChunkSizes(left_whole=int(USUAL.left_whole * size), chunk=int(USUAL.chunk * size))


def released_hiera_blocks() -> list[tuple[int, int, int, int, tuple[int, int] | None, int]]:
    """Each kind of windowed block: channels in and out, heads, window, stride, side of the map at 1024 pixels."""
    found: dict[tuple[Any, ...], None] = {}
    for variant in VARIANTS:
        if not variant.startswith("sam2.1"):
            continue
        trunk = build(variant, device="meta").image_encoder.trunk
        side = 256
        for block in trunk.blocks:
            if block.window_size:
                heads = block.attn.num_heads
                found[block.dim, block.dim_out, heads, block.window_size, block.q_stride, side] = None
            if block.q_stride is not None:
                side //= block.q_stride[0]
    return list(found)


@pytest.mark.parametrize("block", released_hiera_blocks(), ids=str)
def test_released_blocks_of_hiera(block: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dim, dim_out, heads, window, stride, side = block
    narrow, narrow_in = 2 * heads, 2 * heads * dim // dim_out
    twin = made(MultiScaleBlock, narrow_in, narrow, heads, window_size=window, q_stride=stride, mlp_ratio=2.0)
    # What counts is the hidden width, which is four times the output's.
    sizes = scaled(narrow, dim_out)
    with counted(monkeypatch, "samblocks.blocks.hiera") as seen:
        agree(twin, draw("x", 1, side, side, narrow_in), sizes=sizes)
    with use_chunk_sizes(USUAL):
        step = rows_at_once(torch.empty(1, side, side, dim, device="meta"), 4 * dim_out, window)
    cut = [min(step, side - top) for top in range(0, side, step)]
    assert seen == [side, *cut]  # first the plain path; then chunks as the released model's


@pytest.mark.parametrize(("dim", "heads"), [(768, 12), (1024, 16), (1280, 16)])
def test_released_windows_of_the_vit(dim: int, heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    block = made(Block, 2 * heads, heads, window_size=14, use_rel_pos=True, input_size=(64, 64))
    with counted(monkeypatch, "samblocks.blocks.vit") as seen:
        agree(block, draw("x", 1, 64, 64, 2 * heads), sizes=scaled(2 * heads, dim))
    assert seen == [64, 28, 28, 8]


def test_released_global_attention_of_the_vit() -> None:
    q, k, v = (draw(name, 1, 1, 4096, 2) for name in "qkv")
    rows, columns = draw("rows", 1, 1, 64, 64, 64, 1), draw("columns", 1, 1, 64, 64, 1, 64)
    agree(lambda *inputs: attend_with_rel_pos(*inputs, scale=0.7), q, k, v, rows, columns, sizes=USUAL)


@pytest.mark.parametrize("objects", [1, 3])
def test_released_memory_attention(objects: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cross = made(RoPEAttention, 8, 1, kv_in_dim=4, rope_k_repeat=True, feat_sizes=(64, 64))
    own = made(RoPEAttention, 8, 1, feat_sizes=(64, 64))
    layer = made(MemoryAttentionLayer, 8, 16, self_attn=own, cross_attn=cross)
    keys = 4096 + 16 * 4
    with counted(monkeypatch, "samblocks.blocks.memory") as seen:
        agree(
            lambda *inputs: layer(*inputs, num_k_exclude_rope=64),
            draw("frame", objects, 4096, 8),
            draw("memory", objects, keys, 4),
            sizes=scaled(16, 2048),
        )
    assert seen == [4096, *([1024] * 4 if objects == 1 else [342] * 11 + [334])]


def test_released_prompts() -> None:
    decoder = made(MaskDecoder, 8, made(TwoWayTransformer, 2, 8, 2, 16))
    image, places, dense = (draw(name, 1, 8, 64, 64) for name in ("image", "places", "dense"))
    agree(
        lambda *given: decoder(*given, multimask_output=True),
        image,
        places,
        draw("sparse", 5, 3, 8),
        dense,
        sizes=scaled(8, 256),
    )
