"""Hiera, its neck and both together: shapes, positions, stages, fusing, drop path, errors."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from parity.execution.fill import fill_, tensor
from samblocks.models import FpnNeck, Hiera, ImageEncoder

SMALL: dict[str, Any] = {
    "embed_dim": 8,
    "stages": (1, 2, 2, 1),
    "global_att_blocks": (4,),
    "window_spec": (8, 4, 4, 2),
    "window_pos_embed_bkg_spatial_size": (5, 3),
}
TINY: dict[str, Any] = {
    "stages": (1, 2, 7, 2),
    "global_att_blocks": (5, 7, 9),
    "window_pos_embed_bkg_spatial_size": (7, 7),
}


def hiera(**changes: Any) -> Hiera:
    return fill_(Hiera(**{**SMALL, **changes})).eval()


def neck(**changes: Any) -> FpnNeck:
    arguments: dict[str, Any] = {"d_model": 6, "backbone_channel_list": [16, 8, 4], **changes}
    return fill_(FpnNeck(**arguments)).eval()


def levels(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    shapes = ((2, 4, 16, 24), (2, 8, 8, 12), (2, 16, 4, 6))
    return [tensor(f"level {number}", shape, dtype) for number, shape in enumerate(shapes)]


def test_the_levels_are_views_with_the_channels_of_channel_list() -> None:
    trunk = hiera()
    maps = trunk(tensor("x", (2, 3, 64, 96)))
    assert [tuple(x.shape) for x in maps] == [(2, 8, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6), (2, 64, 2, 3)]
    assert trunk.channel_list == [64, 32, 16, 8]


def test_only_the_last_level_without_return_interm_layers() -> None:
    trunk, every = hiera(return_interm_layers=False), hiera()
    x = tensor("x", (1, 3, 64, 64))
    (last,) = trunk(x)
    assert trunk.channel_list == [64]
    assert torch.equal(last, every(x)[-1])


def test_tiny_is_laid_out_as_released() -> None:
    with torch.device("meta"):
        trunk = Hiera(**TINY)
    assert trunk.stage_ends == [0, 2, 9, 11]
    assert trunk.q_pool_blocks == [1, 3, 10]
    windows = [block.window_size for block in trunk.blocks]
    # The first block of a stage keeps the window of the stage before; 0 attends globally.
    assert windows == [8, 8, 4, 4, 14, 0, 14, 0, 14, 0, 14, 7]
    assert [block.attn.num_heads for block in trunk.blocks] == [1, 2, 2, 4, 4, 4, 4, 4, 4, 4, 8, 8]
    assert list(trunk.state_dict())[:4] == [
        "pos_embed",
        "pos_embed_window",
        "patch_embed.proj.weight",
        "patch_embed.proj.bias",
    ]
    assert trunk.channel_list == [768, 384, 192, 96]


@pytest.mark.parametrize(
    ("changes", "shapes"),
    [
        ({"q_pool": 1}, [(8, 16, 16), (16, 8, 8), (32, 8, 8), (64, 8, 8)]),
        ({"q_pool": 0}, [(8, 16, 16), (16, 16, 16), (32, 16, 16), (64, 16, 16)]),
        ({"dim_mul": 1.5, "head_mul": 1.0}, [(8, 16, 16), (12, 8, 8), (18, 4, 4), (27, 2, 2)]),
        ({"num_heads": 2, "head_mul": 1.0}, [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]),
        ({"q_stride": (4, 4), "q_pool": 1}, [(8, 16, 16), (16, 4, 4), (32, 4, 4), (64, 4, 4)]),
    ],
)
def test_growth_and_pooling(changes: dict[str, Any], shapes: list[tuple[int, ...]]) -> None:
    assert [tuple(x.shape[1:]) for x in hiera(**changes)(tensor("x", (1, 3, 64, 64)))] == shapes


def test_position_is_the_resized_table_plus_the_repeated_window() -> None:
    trunk = hiera()
    table = trunk._get_pos_embed((16, 24))
    assert table.shape == (1, 16, 24, 8)
    resized = F.interpolate(trunk.pos_embed, size=(16, 24), mode="bicubic")
    for row, column in ((0, 0), (7, 9), (8, 8), (15, 23)):
        window = trunk.pos_embed_window[0, :, row % 8, column % 8]
        assert torch.equal(table[0, row, column], resized[0, :, row, column] + window)


def test_position_in_half_precision_is_rounded_once() -> None:
    trunk = hiera().to(torch.bfloat16)
    table = trunk._get_pos_embed((16, 16))
    exact = hiera().double()
    exact.load_state_dict(trunk.state_dict())
    assert table.dtype == torch.bfloat16
    assert torch.equal(table, exact._get_pos_embed((16, 16)).to(torch.bfloat16))


def test_a_map_that_is_no_multiple_of_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"15 x 16 patches must be a multiple of the first window, 8 x 8"):
        hiera()(tensor("x", (1, 3, 60, 64)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window_spec": (8, 4)}, "window_spec"),
        ({"stages": (1, 0, 2, 1)}, "stages"),
        ({"stages": (), "window_spec": ()}, "stages"),
        ({"window_spec": (0, 4, 4, 2)}, r"window_spec=\(0, 4, 4, 2\): the first window"),
        ({"q_pool": 4}, "q_pool=4: must lie between 0 and 3"),
        ({"q_pool": -1}, "q_pool"),
    ],
)
def test_impossible_trunks(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        hiera(**changes)


def test_drop_path_grows_linearly_and_acts_in_training_only() -> None:
    trunk = hiera(drop_path_rate=0.6)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in trunk.blocks]
    assert rates == pytest.approx([0.0, 0.12, 0.24, 0.36, 0.48, 0.6])
    x = tensor("x", (4, 3, 32, 32))
    assert torch.equal(trunk(x)[-1], hiera()(x)[-1])
    trunk.train()
    torch.manual_seed(3)
    first = trunk(x)[-1]
    torch.manual_seed(3)
    assert torch.equal(first, trunk(x)[-1])
    torch.manual_seed(4)
    assert not torch.equal(first, trunk(x)[-1])


def test_trunk_with_gradients_and_an_unharmed_input() -> None:
    trunk, x = hiera(), tensor("x", (1, 3, 64, 64)).requires_grad_()
    kept = x.detach().clone()
    torch.stack([level.square().mean() for level in trunk(x)]).sum().backward()
    assert torch.equal(x.detach(), kept)
    gradients = [x.grad, *(parameter.grad for parameter in trunk.parameters())]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_neck_against_a_plain_loop() -> None:
    module, xs = neck(fpn_interp_model="nearest", fpn_top_down_levels=[0, 2]), levels()
    maps, encodings = module(xs)
    lateral = [module.convs[2 - level].conv(xs[level]) for level in range(3)]
    doubled = lateral[1].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    # Level 1 is not in the list: it is its own lateral map, and level 0 gets that one.
    assert torch.equal(maps[2], lateral[2])
    assert torch.equal(maps[1], lateral[1])
    assert torch.equal(maps[0], lateral[0] + doubled)
    assert [tuple(code.shape) for code in encodings] == [(2, 256, 16, 24), (2, 256, 8, 12), (2, 256, 4, 6)]


@pytest.mark.parametrize("model", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("fuse", ["sum", "avg"])
def test_neck_fuses_every_level_by_default(model: str, fuse: str) -> None:
    module, xs = neck(fpn_interp_model=model, fuse_type=fuse), levels()
    maps, _ = module(xs)
    coarse = None
    for level in (2, 1, 0):
        expected = module.convs[2 - level](xs[level])
        if coarse is not None:
            align = None if model == "nearest" else False
            expected = expected + F.interpolate(coarse, scale_factor=2, mode=model, align_corners=align)
            expected = expected / 2 if fuse == "avg" else expected
        torch.testing.assert_close(maps[level], expected)
        coarse = expected


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fuse", ["sum", "avg"])
def test_neck_keeps_the_dtype_at_every_level(dtype: torch.dtype, fuse: str) -> None:
    maps, encodings = neck(fuse_type=fuse).to(dtype)(levels(dtype))
    assert {x.dtype for x in (*maps, *encodings)} == {dtype}


def test_neck_leaves_its_input_alone_even_when_a_lateral_is_the_input() -> None:
    module = neck(fuse_type="avg")
    module.convs = nn.ModuleList(nn.Identity() for _ in range(3))
    xs = [torch.full((1, 6, 4 * 2**level, 4 * 2**level), float(level)) for level in (2, 1, 0)]
    kept = [x.clone() for x in xs]
    first, _ = module(xs)
    second, _ = module(xs)
    assert all(torch.equal(x, y) for x, y in zip(xs, kept, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_neck_arguments() -> None:
    assert neck(kernel_size=3, padding=1).convs[0].conv.weight.shape == (6, 16, 3, 3)
    assert neck(kernel_size=2, stride=2, fpn_top_down_levels=())(levels())[0][0].shape == (2, 6, 8, 12)
    with pytest.raises(ValueError, match=r"fuse_type='max': must be 'sum' or 'avg'"):
        neck(fuse_type="max")
    with pytest.raises(ValueError, match="fpn_interp_model='area'"):
        neck(fpn_interp_model="area")
    with pytest.raises(ValueError, match="xs: has 2 levels, must have 3"):
        neck()(levels()[:2])


def test_image_encoder_drops_the_coarsest_levels() -> None:
    trunk = hiera()
    module = ImageEncoder(trunk, fill_(FpnNeck(6, trunk.channel_list)), scalp=1).eval()
    whole = ImageEncoder(trunk, module.neck)
    x = tensor("x", (2, 3, 64, 64))
    encoded, every = module(x), whole(x)
    assert list(encoded) == ["vision_features", "vision_pos_enc", "backbone_fpn"]
    assert encoded["vision_features"] is encoded["backbone_fpn"][-1]
    assert [x.shape[-1] for x in encoded["backbone_fpn"]] == [16, 8, 4]
    assert [x.shape[-1] for x in encoded["vision_pos_enc"]] == [16, 8, 4]
    assert [x.shape[-1] for x in every["backbone_fpn"]] == [16, 8, 4, 2]
    assert torch.equal(every["backbone_fpn"][2], encoded["vision_features"])


def test_image_encoder_refuses_parts_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"backbone_channel_list \[8, 16\] must be the trunk's channel_list"):
        ImageEncoder(hiera(), FpnNeck(6, [8, 16]))
    with pytest.raises(ValueError, match="scalp=4"):
        ImageEncoder(hiera(), FpnNeck(6, [64, 32, 16, 8]), scalp=4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_image_encoder_in_other_precisions(dtype: torch.dtype) -> None:
    trunk = hiera()
    module = fill_(ImageEncoder(trunk, FpnNeck(6, trunk.channel_list))).eval()
    x = tensor("x", (1, 3, 64, 64))
    exact = module(x)["backbone_fpn"]
    other = module.to(dtype)(x.to(dtype))
    tolerance = 1e-5 if dtype == torch.float64 else 0.15
    for a, b, code in zip(exact, other["backbone_fpn"], other["vision_pos_enc"], strict=True):
        assert b.dtype == code.dtype == dtype
        assert (a - b).abs().max() < tolerance * a.abs().max()
