"""ImageEncoderViT: what it is made of, other sizes, manners, precision, gradients."""

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parity.execution.fill import fill_
from samblocks.models import ImageEncoderViT


def small(**changes: Any) -> ImageEncoderViT:
    settings: dict[str, Any] = {
        "img_size": 64,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "out_chans": 8,
        "use_rel_pos": True,
        "window_size": 3,
        "global_attn_indexes": (1,),
        "norm_layer": partial(nn.LayerNorm, eps=1e-6),
    }
    return fill_(ImageEncoderViT(**{**settings, **changes})).eval()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_names_stand_in_the_order_of_the_checkpoints() -> None:
    names = list(small(depth=1).state_dict())
    assert names[:3] == ["pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]
    assert names[3] == "blocks.0.norm1.weight"
    assert names[-6:] == [
        "neck.0.weight",
        "neck.1.weight",
        "neck.1.bias",
        "neck.2.weight",
        "neck.3.weight",
        "neck.3.bias",
    ]


def test_only_the_listed_blocks_are_global() -> None:
    encoder = small(depth=4, global_attn_indexes=(1, 3))
    assert [block.window_size for block in encoder.blocks] == [3, 0, 3, 0]
    # A windowed block's tables span its window, a global one's the whole map of 4 x 4 patches.
    assert [len(block.get_parameter("attn.rel_pos_h")) for block in encoder.blocks] == [5, 7, 5, 7]


@pytest.mark.parametrize("size", [(64, 64), (96, 32), (128, 128)])
def test_positions_are_added_to_the_patches_and_resized_by_nearest_neighbours(size: tuple[int, int]) -> None:
    encoder = small(depth=0)
    x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    assert encoder.pos_embed is not None
    rows = torch.arange(size[0] // 16) * 64 // size[0]
    columns = torch.arange(size[1] // 16) * 64 // size[1]
    table = encoder.pos_embed[0][rows][:, columns].permute(2, 0, 1)
    patches = F.conv2d(x, encoder.patch_embed.proj.weight, encoder.patch_embed.proj.bias, stride=16)
    torch.testing.assert_close(encoder(x), encoder.neck(patches + table))


def test_blocks_act_one_after_the_other_on_channels_last_maps(image: Tensor) -> None:
    encoder = small()
    x = encoder.patch_embed(image) + encoder.pos_embed
    for block in encoder.blocks:
        x = block(x)
    assert torch.equal(encoder(image), encoder.neck(x.permute(0, 3, 1, 2)))


def test_without_absolute_positions_there_is_no_table(image: Tensor) -> None:
    encoder = small(use_abs_pos=False)
    assert encoder.pos_embed is None
    assert "pos_embed" not in encoder.state_dict()
    assert encoder(image).shape == (2, 8, 4, 4)


def test_second_call_gives_the_same_bits_and_the_image_is_left_alone(image: Tensor) -> None:
    encoder, before = small(), image.clone()
    first = encoder(image)
    encoder(torch.zeros(1, 3, 96, 32))
    assert torch.equal(encoder(image), first)
    assert torch.equal(image, before)


def test_images_of_a_batch_do_not_see_each_other(image: Tensor) -> None:
    encoder = small()
    torch.testing.assert_close(encoder(image)[1:], encoder(image[1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.01), (torch.float32, 1e-5)]
)
def test_runs_in_every_precision_without_autocast(
    image: Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    exact = small().double()(image.double())
    out = small().to(dtype)(image.to(dtype))
    assert out.dtype == dtype
    assert (out.double() - exact).abs().max() < tolerance * exact.abs().max()


def test_every_parameter_gets_a_gradient(image: Tensor) -> None:
    encoder = small().train()
    (encoder(image) * torch.linspace(-1, 1, 16).reshape(4, 4)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 3, 15, 64)])
def test_refuses_what_is_no_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"x must be \[B, (in_chans|C), H, W\].*got"):
        small()(torch.zeros(shape))


def test_refuses_an_image_without_a_patch() -> None:
    with pytest.raises(ValueError, match="patch_size=16 must be between 1 and img_size=8"):
        ImageEncoderViT(img_size=8)
