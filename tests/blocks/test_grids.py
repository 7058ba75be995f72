"""Sizes that are no lucky ones: grids that are not square, odd windows, powers, interpolated masks."""

import pytest
import torch

from parity.execution import fill
from samblocks import blocks


def test_a_given_grid_beats_the_square_of_as_many_tokens() -> None:
    x = fill.tensor("x", (1, 16, 16))
    outs = []
    for feat_sizes in ((8, 2), (2, 8), (4, 4), (32, 32)):
        attention = fill.fill_(blocks.RoPEAttention(16, 2, feat_sizes=feat_sizes)).eval()
        outs.append(attention(x, x, x))
    assert torch.equal(outs[2], outs[3])
    assert not torch.allclose(outs[0], outs[1])
    assert not torch.allclose(outs[0], outs[2])


def test_a_grid_may_be_set_later() -> None:
    x = fill.tensor("x", (1, 6, 16))
    later = fill.fill_(blocks.RoPEAttention(16, 2)).eval()
    later.feat_sizes = (3, 2)
    at_once = fill.fill_(blocks.RoPEAttention(16, 2, feat_sizes=(3, 2))).eval()
    assert torch.equal(later(x, x, x), at_once(x, x, x))
    assert later.freqs_cis.shape == (6, 4)


def test_a_transposed_grid_turns_a_transposed_map() -> None:
    """Width comes first: the same map, transposed, differs only by which half of the pairs turns."""
    attention = fill.fill_(blocks.RoPEAttention(8, 1, feat_sizes=(3, 2)))
    table = attention.freqs_cis.reshape(2, 3, 4)  # rows of the map first
    attention.feat_sizes = (2, 3)
    flipped = attention.freqs_cis.reshape(3, 2, 4)
    swapped = torch.cat((flipped[..., 2:], flipped[..., :2]), -1).transpose(0, 1)
    assert torch.equal(table, swapped)
    assert torch.equal(table[:, 0, :2], torch.ones(2, 2, dtype=torch.complex64))
    assert torch.equal(table[0, :, 2:], torch.ones(3, 2, dtype=torch.complex64))


def test_memories_repeat_the_grid_and_pointers_have_no_place() -> None:
    attention = fill.fill_(blocks.RoPEAttention(16, 2, rope_k_repeat=True)).eval()
    q, frame = fill.tensor("q", (1, 4, 16)), fill.tensor("frame", (1, 4, 16))
    once = attention(q, frame, frame)
    thrice = attention(q, *[frame.repeat(1, 3, 1)] * 2)
    torch.testing.assert_close(once, thrice)
    # Tokens without a place may come in any order, those with one may not.
    pointers = fill.tensor("pointers", (1, 3, 16))
    memory, mixed = torch.cat((frame, pointers), 1), torch.cat((frame, pointers.flip(1)), 1)
    given = attention(q, memory, memory, num_k_exclude_rope=3)
    torch.testing.assert_close(given, attention(q, mixed, mixed, num_k_exclude_rope=3))
    moved = torch.cat((frame.flip(1), pointers), 1)
    assert not torch.allclose(given, attention(q, moved, moved, num_k_exclude_rope=3))


def test_keys_that_are_all_excluded_are_not_turned() -> None:
    attention = fill.fill_(blocks.RoPEAttention(16, 2)).eval()
    q, k = fill.tensor("q", (1, 4, 16)), fill.tensor("k", (1, 3, 16))
    out = attention(q, k, k, num_k_exclude_rope=3)
    torch.testing.assert_close(out, attention(q, k.flip(1), k.flip(1), num_k_exclude_rope=3))


@pytest.mark.parametrize(("side", "pooled"), [(16, 8), (15, 7), (14, 7), (13, 6), (56, 28), (2, 1)])
@pytest.mark.parametrize("window", [4, 8, 0])
def test_even_windows_pool_every_map(window: int, side: int, pooled: int) -> None:
    block = blocks.MultiScaleBlock(4, 8, 2, mlp_ratio=1.0, q_stride=(2, 2), window_size=window)
    with torch.no_grad():
        assert block(torch.zeros(1, side, side, 4)).shape == (1, pooled, pooled, 8)


@pytest.mark.parametrize(("side", "pooled"), [(16, 8), (15, 7), (13, 6), (14, None), (56, None)])
def test_odd_windows_pool_the_maps_that_upstream_pools(side: int, pooled: int | None) -> None:
    block = blocks.MultiScaleBlock(4, 8, 2, mlp_ratio=1.0, q_stride=(2, 2), window_size=7)
    x = torch.zeros(1, side, side, 4)
    if pooled is None:
        with pytest.raises(ValueError, match="window_size 7"):
            block(x)
    else:
        with torch.no_grad():
            assert block(x).shape == (1, pooled, pooled, 8)


def test_a_stride_of_two_sizes_works_over_the_whole_map() -> None:
    block = fill.fill_(blocks.MultiScaleBlock(4, 8, 2, q_stride=(2, 3))).eval()
    assert block(fill.tensor("x", (2, 6, 6, 4))).shape == (2, 3, 2, 8)


def test_padding_takes_part_in_attention() -> None:
    """Windows that reach beyond the map hold zeros after the norm, which the bias makes into keys."""
    block = fill.fill_(blocks.MultiScaleBlock(8, 8, 2, window_size=4)).eval()
    x = fill.tensor("x", (1, 3, 3, 8))
    with torch.no_grad():
        before = block(x)
        block.attn.qkv.bias[16:].add_(1.0)  # the values' bias moves padded and true tokens alike
        shifted = block(x)
        block.window_size = 0
        alone = block(x)
    assert not torch.allclose(before, shifted)
    assert not torch.allclose(shifted, alone)


@pytest.mark.parametrize(
    ("stride", "total", "convolutions"), [(2, 16, 5), (4, 16, 3), (16, 16, 2), (3, 9, 3), (4, 1, 1)]
)
def test_masks_shrink_by_any_power(stride: int, total: int, convolutions: int) -> None:
    sampler = blocks.MaskDownSampler(2, stride=stride, kernel_size=stride, total_stride=total)
    assert len([name for name in sampler.state_dict() if name.endswith("weight")]) == 2 * convolutions - 1


def test_masks_of_the_right_size_are_not_resized() -> None:
    plain = fill.fill_(blocks.MaskDownSampler(4))
    resizing = fill.fill_(blocks.MaskDownSampler(4, interpol_size=(32, 16)))
    x = fill.tensor("x", (1, 1, 32, 16))
    assert torch.equal(plain(x), resizing(x))
    assert resizing(fill.tensor("y", (1, 1, 20, 50))).shape == plain(x).shape


def test_a_mask_is_resized_without_edges_of_its_own() -> None:
    """Constants stay, ramps are averaged, thin lines do not vanish: bilinear with antialias."""
    sampler = blocks.MaskDownSampler(4, interpol_size=(16, 16))
    seen: list[torch.Tensor] = []
    sampler.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    sampler(torch.full((1, 1, 32, 32), 3.0))
    sampler(torch.arange(32.0).repeat(32, 1)[None, None])
    lines = torch.zeros(1, 1, 64, 64)
    lines[..., ::4] = 1.0
    sampler(lines)
    torch.testing.assert_close(seen[2][..., 1:-1], torch.full((1, 1, 16, 14), 0.25))
    torch.testing.assert_close(seen[0], torch.full((1, 1, 16, 16), 3.0))
    torch.testing.assert_close(seen[1][0, 0, :, 1:-1], (torch.arange(1.0, 15) * 2 + 0.5).repeat(16, 1))


def test_norms_by_name_use_a_small_epsilon_and_callables_their_own() -> None:
    assert blocks.MultiScaleBlock(8, 8, 2).norm1.eps == 1e-6
    assert blocks.MultiScaleBlock(8, 8, 2, norm_layer="RMSNorm").norm2.eps == 1e-6
    assert blocks.MultiScaleBlock(8, 8, 2, norm_layer=torch.nn.LayerNorm).norm1.eps == 1e-5
    assert isinstance(blocks.MultiScaleBlock(8, 8, 2, norm_layer="Identity").norm1, torch.nn.Identity)


def test_the_pool_is_one_module_for_block_and_attention() -> None:
    block = blocks.MultiScaleBlock(8, 16, 2, q_stride=(2, 2), window_size=4)
    assert block.attn.q_pool is block.pool
    assert not hasattr(blocks.MultiScaleBlock(8, 8, 2), "proj")


def test_channels_of_pooled_attention_go_head_by_head() -> None:
    attention = fill.fill_(blocks.MultiScaleAttention(4, 8, 2, q_pool=torch.nn.MaxPool2d(2, 2))).eval()
    x = fill.tensor("x", (1, 2, 2, 4))
    q, k, v = attention.qkv(x).reshape(1, 4, 3, 2, 4).unbind(2)
    pooled = q.amax(1, keepdim=True)
    weights = torch.einsum("bqhd,bkhd->bhqk", pooled, k).div(2).softmax(-1)
    expected = attention.proj(torch.einsum("bhqk,bkhd->bqhd", weights, v).reshape(1, 1, 1, 8))
    torch.testing.assert_close(attention(x), expected)
