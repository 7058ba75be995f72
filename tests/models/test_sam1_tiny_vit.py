"""TinyViT: stages and sizes, biases, padding, learning rates, drop path, checkpointing, errors."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parity.execution.fill import fill_
from samblocks import plain_paths
from samblocks.models import TinyViT
from samblocks.models.build import materialize
from samblocks.models.tiny_vit.blocks import Attention, TinyViTBlock
from samblocks.models.tiny_vit.convs import Conv2d_BN, MBConv, PatchMerging


def small(**changes: Any) -> TinyViT:
    settings: dict[str, Any] = {
        "img_size": 64,
        "num_classes": 5,
        "embed_dims": (8, 16, 24, 320),
        "depths": (1, 2, 1, 1),
        "num_heads": (1, 2, 3, 10),
        "window_sizes": (7, 3, 4, 7),
    }
    return fill_(TinyViT(**{**settings, **changes})).eval()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def resolutions(encoder: TinyViT) -> list[tuple[int, int]]:
    return [vars(layer)["input_resolution"] for layer in encoder.layers]


def test_the_last_stage_of_the_released_widths_keeps_its_size(image: Tensor) -> None:
    encoder = small()
    assert resolutions(encoder) == [(16, 16), (8, 8), (4, 4), (4, 4)]
    assert [layer.downsample and layer.downsample.stride for layer in encoder.layers] == [2, 2, 1, None]
    assert encoder(image).shape == (2, 256, 4, 4)


def test_other_widths_halve_at_every_stage(image: Tensor) -> None:
    encoder = small(embed_dims=(8, 16, 24, 40))
    assert resolutions(encoder) == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert encoder(image).shape == (2, 256, 2, 2)


@pytest.mark.parametrize("size", [(32, 96), (100, 52), (64, 64)])
def test_set_imgsz_takes_any_size(size: tuple[int, int]) -> None:
    encoder = small()
    encoder.set_imgsz(size)
    out = encoder(torch.randn(1, 3, *size))
    assert out.shape == (1, 256, -(-size[0] // 16), -(-size[1] // 16))
    assert encoder.img_size == max(size)


def test_refuses_an_image_of_another_size_and_says_what_to_do(image: Tensor) -> None:
    with pytest.raises(ValueError, match=r"map of \(8, 16\).*set for \(16, 16\); set_imgsz"):
        small()(image[:, :, :32])
    with pytest.raises(ValueError, match=r"x has 9 tokens for input_resolution=\(2, 2\)"):
        TinyViTBlock(8, (2, 2), 2)(torch.zeros(1, 9, 8))
    with pytest.raises(ValueError, match="imgsz"):
        small().set_imgsz([64])


def test_weights_loaded_after_eval_are_the_ones_in_use(image: Tensor) -> None:
    source, target = (
        small(),
        TinyViT(64, 3, 5, (8, 16, 24, 320), (1, 2, 1, 1), (1, 2, 3, 10), (7, 3, 4, 7)).eval(),
    )
    target(image)
    target.load_state_dict(source.state_dict())
    assert torch.equal(target(image), source(image))
    with torch.no_grad():
        target.layers[1].blocks[0].attn.attention_biases += torch.randn(2, 9)
    assert not torch.allclose(target(image), source(image))


def attention_by_hand(attention: Attention, x: Tensor, width: int) -> Tensor:
    """Token by token, head by head; the bias found by its distance."""
    d, heads, tokens = attention.key_dim, attention.num_heads, x.shape[1]
    qkv = attention.qkv(F.layer_norm(x, x.shape[-1:], attention.norm.weight, attention.norm.bias, 1e-5))
    outs = []
    for h in range(heads):
        q, k, v = qkv[..., h * 3 * d : (h + 1) * 3 * d].chunk(3, dim=-1)
        scores = torch.empty(len(x), tokens, tokens)
        for i in range(tokens):
            for j in range(tokens):
                dy, dx = abs(i // width - j // width), abs(i % width - j % width)
                bias = attention.attention_biases[h, dy * width + dx]
                scores[:, i, j] = (q[:, i] * k[:, j]).sum(-1) * d**-0.5 + bias
        outs.append(scores.softmax(-1) @ v)
    out: Tensor = attention.proj(torch.cat(outs, dim=-1))
    return out


def test_attention_has_a_bias_for_each_distance() -> None:
    attention = fill_(Attention(12, key_dim=4, num_heads=3, attn_ratio=1, resolution=(2, 3)))
    x = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(attention(x), attention_by_hand(attention, x, width=3))


def test_padding_enters_attention_as_the_norms_bias() -> None:
    block = fill_(TinyViTBlock(8, (2, 3), num_heads=2, window_size=3)).eval()
    x = torch.randn(1, 6, 8, generator=torch.Generator().manual_seed(0))
    padded = F.pad(x, (0, 0, 0, 3))  # a third row of zeros
    attended = x + attention_by_hand(block.attn, padded, width=3)[:, :6]
    convolved = block.local_conv(attended.reshape(1, 2, 3, 8).permute(0, 3, 1, 2))
    tokens = convolved.flatten(2).transpose(1, 2)
    torch.testing.assert_close(block(x), tokens + block.mlp(tokens))


def test_mbconv_activates_after_the_sum() -> None:
    block = fill_(MBConv(4, 4, 2.0, nn.GELU, 0.0)).eval()
    x = torch.randn(1, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    hidden = F.gelu(block.conv2(F.gelu(block.conv1(x))))
    torch.testing.assert_close(block(x), F.gelu(x + block.conv3(hidden)))
    fresh = MBConv(4, 4, 2.0, nn.GELU, 0.0).eval()
    assert torch.equal(fresh(x), F.gelu(x))  # the last norm starts at zero


def test_linear_layers_start_without_bias() -> None:
    fresh = TinyViT(64, embed_dims=(8, 16, 24, 320), depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 10))
    assert not any(m.bias.any() for m in fresh.modules() if isinstance(m, nn.Linear))


def test_patch_merging_reads_tokens_row_by_row() -> None:
    merging = fill_(PatchMerging((2, 4), 8, 16, nn.GELU)).eval()
    x = torch.randn(1, 8, 2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(merging(x.flatten(2).transpose(1, 2)), merging(x))
    assert merging(x).shape == (1, 2, 16)


def test_learning_rates_fall_by_a_factor_from_block_to_block() -> None:
    encoder = small(layer_lr_decay=0.5)
    scales = {name: getattr(parameter, "lr_scale", None) for name, parameter in encoder.named_parameters()}
    assert scales["patch_embed.seq.0.c.weight"] == 0.5**4
    assert (
        scales["layers.0.blocks.0.conv1.c.weight"] == scales["layers.0.downsample.conv1.c.weight"] == 0.5**4
    )
    assert scales["layers.1.blocks.0.attn.qkv.bias"] == 0.5**3
    assert scales["layers.1.blocks.1.mlp.fc1.weight"] == scales["layers.1.downsample.conv2.bn.bias"] == 0.5**2
    assert scales["layers.3.blocks.0.local_conv.c.weight"] == scales["head.weight"] == 1
    assert scales["neck.0.weight"] is None
    assert encoder.no_weight_decay_keywords() == {"attention_biases"}


def test_drop_path_grows_to_its_rate_and_acts_while_training() -> None:
    encoder = small(drop_path_rate=0.4)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for layer in encoder.layers for block in layer.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    block = encoder.layers[3].blocks[0].train()
    block.local_conv.eval()
    x = torch.randn(64, 16, 320, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    first = block(x)
    torch.manual_seed(0)
    assert torch.equal(block(x), first)
    assert not torch.allclose(block(x), first)


def test_gradients_reach_everything_but_the_unused_head(image: Tensor) -> None:
    encoder = small().train()
    (encoder(image) * torch.linspace(-1, 1, 16).reshape(4, 4)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        if name.startswith(("norm_head", "head")):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


def test_running_blocks_twice_for_memory_changes_no_gradient(image: Tensor) -> None:
    plain, twice = small(), small(use_checkpoint=True)
    for encoder in (plain, twice):
        encoder(image).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), twice.parameters(), strict=True):
        if a.grad is not None:
            assert b.grad is not None, name
            torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.15), (torch.float16, 0.02), (torch.float32, 1e-5)]
)
def test_runs_in_every_precision_without_autocast(
    image: Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    exact = small().double()(image.double())
    out = small().to(dtype)(image.to(dtype))
    assert out.dtype == dtype
    assert (out.double() - exact).abs().max() < tolerance * exact.abs().max()


def test_second_call_gives_the_same_bits_and_the_image_is_left_alone(image: Tensor) -> None:
    encoder, before = small(), image.clone()
    first = encoder(image)
    assert torch.equal(encoder(image), first)
    assert torch.equal(copy.deepcopy(encoder)(image), first)
    assert torch.equal(image, before)


def test_an_assigning_load_from_the_meta_device_leaves_nothing_there(image: Tensor) -> None:
    source = small(layer_lr_decay=0.5)
    with torch.device("meta"):
        target = TinyViT(
            64, 3, 5, (8, 16, 24, 320), (1, 2, 1, 1), (1, 2, 3, 10), (7, 3, 4, 7), layer_lr_decay=0.5
        ).eval()
    target.load_state_dict(source.state_dict(), assign=True)
    assert target.layers[1].blocks[0].attn.attention_bias_idxs.is_meta
    materialize(target)
    assert torch.equal(target(image), source(image))
    indices = target.layers[1].blocks[0].attn.attention_bias_idxs
    assert indices.dtype == torch.int64
    assert "attention_bias_idxs" not in "".join(target.state_dict())
    for name, parameter in target.named_parameters():
        assert getattr(parameter, "lr_scale", None) == getattr(source.get_parameter(name), "lr_scale", None)


def test_refuses_settings_that_cannot_work() -> None:
    with pytest.raises(ValueError, match="num_heads=3 must divide dim=8"):
        TinyViTBlock(8, (2, 2), num_heads=3)
    with pytest.raises(ValueError, match="window_size=0 must be positive"):
        TinyViTBlock(8, (2, 2), num_heads=2, window_size=0)
    with pytest.raises(ValueError, match="out_chans=4 must be in_chans=8"):
        MBConv(8, 4, 4.0, nn.GELU, 0.0)


def test_a_norm_is_folded_where_nobody_would_notice(image: Tensor) -> None:
    pair = fill_(Conv2d_BN(3, 8, 3, pad=1)).eval().requires_grad_(False)
    exact = copy.deepcopy(pair).double()
    with plain_paths():
        plain, truth = pair(image), exact(image.double())
    folded = pair(image)
    assert not torch.equal(folded, plain)
    assert (folded - truth).norm() <= 2 * (plain - truth).norm()

    seen: list[Tensor] = []
    handle = pair.bn.register_forward_hook(lambda _, inputs, out: seen.append(out))
    assert torch.equal(pair(image), plain)
    assert len(seen) == 1
    handle.remove()
    pair.append(nn.ReLU())
    assert torch.equal(pair(image), plain.relu())
    pair[1] = nn.Identity()  # what a fused convolution leaves behind
    assert torch.equal(pair(image), pair[0](image).relu())


def test_a_training_norm_learns(image: Tensor) -> None:
    pair = fill_(Conv2d_BN(3, 8)).train()
    mean = pair.get_buffer("bn.running_mean")
    before = mean.clone()
    with torch.no_grad():
        pair(image)
    assert not torch.equal(mean, before)
