"""Fast paths: the plain path's numbers, and taken only where nobody would notice."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import register_module_forward_hook

from parity.execution.fill import fill_
from samblocks.blocks import (
    Attention,
    Block,
    MemoryAttentionLayer,
    MultiScaleBlock,
    RoPEAttention,
    SAM2TwoWayTransformer,
    TwoWayTransformer,
)
from samblocks.models.sam1.mask_decoder import MaskDecoder
from samblocks.models.sam2.mask_decoder import SAM2MaskDecoder
from samblocks.ops.attend import attend
from samblocks.ops.chunking import SMALLEST, USUAL, use_chunk_sizes
from samblocks.ops.fast_path import fast_path_allowed, plain_paths
from samblocks.ops.half_precision import half_in_float32

DOUBLE = torch.float64


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.fixture
def small_chunks() -> Iterator[None]:
    """One window row, one row, one prompt or a few queries at a time."""
    with use_chunk_sizes(SMALLEST):
        yield


@pytest.fixture
def calls() -> Iterator[Callable[[nn.Module], list[tuple[int, ...]]]]:
    """Count how often a layer's forward runs; a hook would switch the fast path off."""
    kept: list[tuple[type, Any]] = []

    def count(layer: nn.Module) -> list[tuple[int, ...]]:
        shapes: list[tuple[int, ...]] = []
        original = type(layer).forward

        def forward(self: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self is layer:
                shapes.append(tuple(x.shape))
            return original(self, x, *args, **kwargs)

        kept.append((type(layer), original))
        type(layer).forward = forward
        return shapes

    yield count
    for owner, original in reversed(kept):
        owner.forward = original


def same(module: nn.Module, *inputs: Any, **named: Any) -> None:
    """Both paths give the same numbers, and neither touches its input."""
    given = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
    with torch.no_grad():
        fast = module(*inputs, **named)
        with plain_paths():
            plain = module(*inputs, **named)
    assert all(torch.equal(a, b) for a, b in zip(given, inputs, strict=True) if isinstance(a, Tensor))
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)


MULTI_SCALE: dict[str, tuple[dict[str, Any], tuple[int, int, int], int]] = {
    "windows": ({"window_size": 4}, (1, 16, 12), 4),
    "padded below": ({"window_size": 4}, (1, 10, 12), 3),
    "padded right": ({"window_size": 4}, (2, 12, 7), 3),
    "pooled": ({"window_size": 4, "q_stride": (2, 2)}, (1, 16, 12), 4),
    "pooled, padded": ({"window_size": 4, "q_stride": (2, 2)}, (2, 10, 9), 3),
    "pooled, odd height": ({"window_size": 4, "q_stride": (2, 2)}, (1, 9, 8), 1),
    "odd windows, pooled": ({"window_size": 7, "q_stride": (2, 2)}, (1, 12, 12), 1),
    "whole map": ({"window_size": 0}, (1, 8, 8), 1),
}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("case", MULTI_SCALE)
@pytest.mark.parametrize("dim_out", [8, 16])
def test_windows_of_hiera(case: str, dim_out: int, calls: Any) -> None:
    arguments, shape, expected = MULTI_SCALE[case]
    block = fill_(MultiScaleBlock(8, dim_out, num_heads=2, **arguments).to(DOUBLE)).eval()
    x = draw(*shape, 8)
    same(block, x)
    fed, projected = calls(block.mlp), calls(block.attn.qkv)
    with torch.no_grad():
        block(x)
    assert len(fed) == expected
    if "pooled" not in case:  # zeros are pooled with what is beside them
        assert sum(prod(shape[:-1]) for shape in projected) == prod(shape)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("implementation", ["fused", "scale_queries"])
@pytest.mark.parametrize("rel_pos", [False, True])
@pytest.mark.parametrize("window", [0, 3])
def test_blocks_of_the_vit(window: int, rel_pos: bool, implementation: Any, calls: Any) -> None:
    block = fill_(Block(8, 2, window_size=window, use_rel_pos=rel_pos, input_size=(7, 5)).to(DOUBLE)).eval()
    block.attn.implementation = implementation
    x = draw(2, 7, 5, 8)
    same(block, x)
    projected, fed = calls(block.attn.qkv), calls(block.mlp)
    with torch.no_grad():
        block(x)
    assert (len(projected), len(fed)) == ((3, 3) if window else (1, 7))
    assert sum(prod(shape[:-1]) for shape in projected) == 2 * 7 * 5  # padding is not


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(("frames", "pointers"), [(1, 0), (3, 0), (2, 4), (0, 3)])
@pytest.mark.parametrize("batch", [1, 2])
def test_memory_is_gathered_before_it_is_projected(
    frames: int, pointers: int, batch: int, calls: Any
) -> None:
    attention = RoPEAttention(16, 1, kv_in_dim=4, rope_k_repeat=True, feat_sizes=(3, 4)).to(DOUBLE)
    fill_(attention).eval()
    keys = 12 * frames + pointers
    given = (draw(batch, 12, 16), draw(batch, keys, 4, seed=1), draw(batch, keys, 4, seed=2))
    same(attention, *given, num_k_exclude_rope=pointers)
    with torch.no_grad():
        turned = calls(attention.v_proj)
        attention(*given, num_k_exclude_rope=pointers)
        with plain_paths():
            attention(*given, num_k_exclude_rope=pointers)
    assert turned == [(batch, 12, 4), (batch, keys, 4)]


@pytest.mark.parametrize("arguments", [{"num_heads": 2, "kv_in_dim": 4}, {"num_heads": 1}])
def test_other_values_are_projected_first(arguments: dict[str, int], calls: Any) -> None:
    attention = fill_(RoPEAttention(16, **arguments, rope_k_repeat=True, feat_sizes=(2, 2))).eval()
    memory = draw(1, 8, arguments.get("kv_in_dim", 16)).float()
    shapes = calls(attention.v_proj)
    with torch.no_grad():
        attention(draw(1, 4, 16).float(), memory, memory)
    assert shapes == [tuple(memory.shape)]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("queries", "keys"), [(3, 20), (20, 3), (1, 2), (2, 1)])
def test_few_are_projected_in_place_of_many(batch: int, queries: int, keys: int, calls: Any) -> None:
    attention = fill_(Attention(16, 2, 2, kv_in_dim=6).to(DOUBLE)).eval()
    given = (draw(batch, queries, 16), draw(batch, keys, 6, seed=1), draw(batch, keys, 6, seed=2))
    same(attention, *given)
    projected = calls(attention.v_proj if queries < keys else attention.q_proj)
    with torch.no_grad():
        attention(*given)
        assert projected == []
        attention.k_proj.weight.mul_(2)  # nothing of it is kept
        attention.v_proj.bias.add_(1)
    same(attention, *given)
    attention.load_state_dict({name: x * 2 for name, x in attention.state_dict().items()})
    same(attention, *given)
    same(attention.float().to(DOUBLE).requires_grad_(False), *given)
    assert projected == [tuple(given[1 if queries < keys else 0].shape)] * 3  # the plain path's calls


def test_many_tokens_are_projected_themselves(calls: Any) -> None:
    attention = fill_(Attention(16, 2)).eval().requires_grad_(False)
    projected = calls(attention.v_proj)
    for queries, keys in ((9, 300), (3, 200)):  # too many for the channels; too few to gain
        attention(draw(1, queries, 16).float(), *[draw(1, keys, 16).float()] * 2)
    assert projected == [(1, 300, 16), (1, 200, 16)]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_gathered_in_float32(dtype: torch.dtype, autocast: bool, calls: Any) -> None:
    """Whole in half precision and under autocast: nearer to the exact numbers than the plain path, in its dtype."""
    exact = fill_(RoPEAttention(16, 1, kv_in_dim=4, rope_k_repeat=True, feat_sizes=(3, 4)).to(DOUBLE)).eval()
    weights = {name: x.to(dtype).double() for name, x in exact.state_dict().items()}
    exact.load_state_dict(weights)
    given = [draw(2, n, c, seed=n).to(dtype) for n, c in ((12, 16), (28, 4), (28, 4))]
    kept = torch.float32 if autocast else dtype
    attention = RoPEAttention(16, 1, kv_in_dim=4, rope_k_repeat=True, feat_sizes=(3, 4)).eval()
    attention.to(DOUBLE).load_state_dict(weights)
    attention.to(kept).requires_grad_(False)
    turned = calls(attention.v_proj)
    with torch.autocast("cpu", dtype, enabled=autocast), half_in_float32(False):
        found = attention(*(x.to(kept) for x in given), num_k_exclude_rope=4)
        with plain_paths():
            plain = attention(*(x.to(kept) for x in given), num_k_exclude_rope=4)
    with torch.no_grad():
        truth = exact(*(x.double() for x in given), num_k_exclude_rope=4)
    assert turned == [(2, 12, 4), (2, 28, 4)]
    assert found.dtype == plain.dtype == dtype
    error, upstreams = ((x.double() - truth).square().mean().sqrt() for x in (found, plain))
    assert error <= 1.5 * upstreams


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_large_attention_in_half_precision_is_wide_inside(dtype: torch.dtype, bias: bool) -> None:
    q, k, v = (draw(2, 3, 9, 8, seed=seed).to(dtype) for seed in range(3))
    added = draw(1, 3, 9, 9).to(dtype) if bias else None
    wide = attend(q.float(), k.float(), v.float(), bias=None if added is None else added.float(), scale=0.5)
    assert torch.equal(attend(q, k, v, bias=added, scale=0.5), wide.to(dtype))
    with torch.autocast("cpu", dtype):
        assert torch.equal(attend(q, k, v, bias=added, scale=0.5), wide.to(dtype))
    with use_chunk_sizes(USUAL):  # too few scores to be worth it
        narrow = attend(q, k, v, bias=added, scale=0.5)
    with plain_paths():
        assert torch.equal(attend(q, k, v, bias=added, scale=0.5), narrow)


@pytest.mark.usefixtures("small_chunks")
def test_layer_of_the_memory_attention(calls: Any) -> None:
    layer = fill_(MemoryAttentionLayer(d_model=16, dim_feedforward=32).to(DOUBLE)).eval()
    memory = draw(1, 22, 64)
    same(layer, draw(1, 9, 16), memory, pos=draw(1, 22, 64, seed=3), num_k_exclude_rope=4)
    shapes = calls(layer.linear1)
    with torch.no_grad():
        layer(draw(1, 9, 16), memory, num_k_exclude_rope=4)
    assert shapes == [(1, 1, 1, 16)] * 9 or shapes == [(1, 1, 16)] * 9


def decoders() -> Iterator[tuple[nn.Module, dict[str, Any], nn.Module]]:
    """Decoders, what they are called with beside prompts, and a layer that runs once for each piece."""
    old = MaskDecoder(16, TwoWayTransformer(2, 16, 2, 32))
    yield old, {"multimask_output": True}, old.iou_prediction_head
    new = SAM2MaskDecoder(
        16, SAM2TwoWayTransformer(2, 16, 1, 32), use_high_res_features=True, pred_obj_scores=True
    )
    finer = [draw(1, 2, 12, 20, seed=7), draw(1, 4, 6, 10, seed=8)]
    yield (
        new,
        {"multimask_output": False, "repeat_image": True, "high_res_features": finer},
        new.iou_prediction_head,
    )


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("decoder", [0, 1])
@pytest.mark.parametrize("dense", [1, 5])
@pytest.mark.parametrize("images", [1, 5])
def test_prompts_of_a_decoder(decoder: int, dense: int, images: int, calls: Any) -> None:
    module, named, head = list(decoders())[decoder]
    module = fill_(module.to(DOUBLE)).eval()
    given = (draw(images, 16, 3, 5), draw(1, 16, 3, 5, seed=1), draw(5, 2, 16), draw(dense, 16, 3, 5, seed=2))
    same(module, *given, **named)
    shapes = calls(head)
    with torch.no_grad():
        module(*given, **named)
    assert [shape[0] for shape in shapes] == [1] * 5


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("decoder", [0, 1])
def test_maps_that_do_not_fit_the_prompts(decoder: int) -> None:
    module, named, _ = list(decoders())[decoder]
    module = module.to(DOUBLE).eval()
    given = (draw(1, 16, 3, 5), draw(1, 16, 3, 5), draw(6, 2, 16), draw(5, 16, 3, 5))
    with torch.no_grad(), pytest.raises(ValueError, match="dense_prompt_embeddings hold 5 maps for 6"):
        module(*given, **named)


@pytest.mark.usefixtures("small_chunks")
def test_no_prompts() -> None:
    module, named, _ = next(decoders())
    module = module.to(DOUBLE).eval()
    given = (draw(1, 16, 3, 5), draw(1, 16, 3, 5), draw(0, 2, 16), draw(1, 16, 3, 5))
    with torch.no_grad():
        masks, iou = module(*given, **named)
    assert (tuple(masks.shape), tuple(iou.shape)) == ((0, 3, 12, 20), (0, 3))


class Adapter(nn.Linear):
    """Somebody else's layer."""


def listen(block: nn.Module) -> None:
    block.mlp.register_forward_hook(lambda *_: None)


def listen_before(block: nn.Module) -> None:
    block.attn.qkv.register_forward_pre_hook(lambda *_: None)


def adapt(block: nn.Module) -> None:
    block.attn.proj = fill_(Adapter(8, 8)).eval().requires_grad_(False)


def replace_forward(block: nn.Module) -> None:
    block.mlp.forward = lambda x: x


def train_a_part(block: nn.Module) -> None:
    block.attn.train()


def other_weights(block: nn.Module) -> None:
    class Packed(nn.Parameter):
        pass

    weight = block.get_parameter("attn.qkv.weight").data
    block.attn.qkv._parameters["weight"] = torch.Tensor._make_subclass(Packed, weight)


def train_weights(block: nn.Module) -> None:
    block.norm1.weight.requires_grad_(True)


REASONS = [listen, listen_before, adapt, replace_forward, train_a_part, other_weights, train_weights]


@pytest.mark.parametrize("reason", [None, *REASONS], ids=lambda f: getattr(f, "__name__", "none"))
def test_what_somebody_would_notice(reason: Callable[[nn.Module], None] | None) -> None:
    block = MultiScaleBlock(8, 8, 2, window_size=2).eval().requires_grad_(False)
    x = torch.zeros(1, 4, 4, 8)
    if reason is not None:
        reason(block)
    assert fast_path_allowed(block, x) is (reason is None)


def test_hooks_on_the_block_itself_are_called_once() -> None:
    block = fill_(MultiScaleBlock(8, 8, 2, window_size=2)).eval().requires_grad_(False)
    seen = []
    block.register_forward_hook(lambda *_: seen.append(1))
    assert fast_path_allowed(block, torch.zeros(1, 4, 4, 8))
    block(torch.zeros(1, 4, 4, 8))
    assert seen == [1]


def test_hooks_on_every_module() -> None:
    block = Attention(8, 2).eval().requires_grad_(False)
    handle = register_module_forward_hook(lambda *_: None)
    try:
        assert not fast_path_allowed(block, torch.zeros(2))
    finally:
        handle.remove()
    assert fast_path_allowed(block, torch.zeros(2))


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.script:DeprecationWarning", "ignore:.*torch.jit.script:FutureWarning"
)
def test_tensors_that_are_watched() -> None:
    block, x = Attention(8, 2).eval().requires_grad_(False), torch.zeros(1, 2, 8)
    assert not fast_path_allowed(block, x.clone().requires_grad_())
    assert not fast_path_allowed(block, x.to("meta"))
    with forward_ad.dual_level():
        assert not fast_path_allowed(block, forward_ad.make_dual(x, x))
    allowed = []
    torch.vmap(lambda row: allowed.append(fast_path_allowed(block, row)) or row)(x)
    torch.func.jvp(lambda row: allowed.append(fast_path_allowed(block, row)) or row, (x,), (x,))
    assert allowed == [False, False]
    with torch.inference_mode():
        assert fast_path_allowed(block, torch.zeros(2))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.usefixtures("small_chunks")
def test_function_transforms_get_through() -> None:
    block = fill_(MultiScaleBlock(8, 8, 2, window_size=2).to(DOUBLE)).eval().requires_grad_(False)
    x = draw(3, 1, 4, 4, 8)
    expected = torch.stack([block(item) for item in x])
    torch.testing.assert_close(torch.vmap(block)(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("small_chunks")
def test_gradients_are_those_of_the_plain_path() -> None:
    block = fill_(Block(8, 2, window_size=0, use_rel_pos=True, input_size=(4, 4)).to(DOUBLE)).eval()
    x = draw(1, 4, 4, 8).requires_grad_()
    found = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
    with plain_paths():
        expected = torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_plain_paths_hold_in_this_thread_until_the_end() -> None:
    block, x = Attention(8, 2).eval().requires_grad_(False), torch.zeros(2)
    with plain_paths():
        with plain_paths():
            assert not fast_path_allowed(block, x)
        assert not fast_path_allowed(block, x)
    assert fast_path_allowed(block, x)
    with pytest.raises(RuntimeError, match="out"), plain_paths():
        raise RuntimeError("out")
    assert fast_path_allowed(block, x)


@pytest.mark.usefixtures("small_chunks")
def test_graphs_hold_the_plain_path() -> None:
    """One graph, and no guard on the size of the batch: sizes of chunks are nothing that a graph depends on."""
    batch = torch.export.Dim("batch", min=1, max=64)
    for block, shape in (
        (MultiScaleBlock(8, 16, 2, q_stride=(2, 2), window_size=4), (2, 8, 8, 8)),
        (Block(8, 2, use_rel_pos=True, input_size=(4, 4)), (2, 4, 4, 8)),
    ):
        fill_(block.to(DOUBLE)).eval().requires_grad_(False)
        program = torch.export.export(block, (draw(*shape),), dynamic_shapes=({0: batch},))
        torch._dynamo.reset()
        compiled = torch.compile(block, backend="eager", fullgraph=True)
        for x in (draw(*shape), draw(5, *shape[1:])):
            torch.testing.assert_close(program.module()(x), block(x), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(compiled(x), block(x), rtol=1e-12, atol=1e-12)
