"""Cases of SAM 2's image encoder: Hiera, FpnNeck and ImageEncoder, at small sizes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from parity.cases.family import family, row
from parity.execution.case import Make, Side, make, uniform
from parity.execution.training import gradients

SMALL_HIERA: dict[str, Any] = {
    "embed_dim": 16,
    "stages": (1, 2, 3, 1),
    "window_spec": (8, 4, 14, 7),
    "window_pos_embed_bkg_spatial_size": (7, 7),
    "global_att_blocks": (4,),
}


def _items_differ(outputs: Mapping[str, Tensor]) -> None:
    """Equal images come out unequal: drop path dropped branches of some and not of others."""
    last = outputs["3"]
    if torch.allclose(last[0], last[1]):
        raise AssertionError("nothing was dropped, or everything")


_HIERA = family(block="Hiera", bound64=1e-10).of(
    released_shape=row(
        "four stages, the first block of each in the windows of the one before; one global block",
        SMALL_HIERA,
        {"x": uniform(2, 3, 128, 128)},
    ),
    defaults=row(
        "the defaults: 24 blocks, tables of 14 by 14, three global blocks (half as wide)",
        {"embed_dim": 48},
        {"x": uniform(1, 3, 64, 64)},
    ),
    not_square=row(
        "tables are resized and tiled for each side on its own",
        {**SMALL_HIERA, "window_pos_embed_bkg_spatial_size": (5, 9)},
        {"x": uniform(1, 3, 64, 160)},
    ),
    fewer_pools=row(
        "one pooling only, of 4 by 4, other growth of width and heads, and the last map alone",
        {
            "embed_dim": 16,
            "num_heads": 2,
            "q_pool": 1,
            "q_stride": (4, 4),
            "stages": (1, 1, 2),
            "dim_mul": 1.5,
            "head_mul": 1.0,
            "window_spec": (8, 4, 4),
            "global_att_blocks": (2,),
            "return_interm_layers": False,
        },
        {"x": uniform(1, 3, 64, 64)},
    ),
    train_drop_path=row(
        "in training whole branches of some images are dropped, in later blocks more often",
        {**SMALL_HIERA, "drop_path_rate": 0.5},
        {"x": uniform(1, 3, 64, 64)},
        call=lambda side: side.net(side.inputs["x"].repeat(6, 1, 1, 1)),
        train=True,
        check=_items_differ,
    ),
    gradients=row(
        "the backward pass through pooling, windows and both tables of positions",
        {**SMALL_HIERA, "embed_dim": 8, "stages": (1, 1, 1, 1), "global_att_blocks": ()},
        {"x": uniform(1, 3, 64, 64)},
        call=gradients(),
    ),
)

_CHANNELS = [24, 16, 12, 8]  # coarsest first


def _maps(side: int, batch: int = 1) -> dict[str, Any]:
    return {
        f"level{level}": uniform(batch, channels, side >> level, side >> level)
        for level, channels in enumerate(reversed(_CHANNELS))
    }


def _neck(side: Side) -> Any:
    return side.net(list(side.inputs.values()))


_FPN_NECK = family(
    block="FpnNeck", kwargs={"backbone_channel_list": _CHANNELS}, call=_neck, bound64=1e-10
).of(
    released_shape=row(
        "only the two coarsest levels are fed from above, by repeated pixels; the others stand alone",
        {"d_model": 256, "fpn_interp_model": "nearest", "fpn_top_down_levels": [2, 3]},
        _maps(32, batch=2),
    ),
    defaults=row(
        "by default all levels are fed from above, bilinearly, and added; encodings have 256 channels",
        {"d_model": 20},
        _maps(16),
    ),
    mean_of_strided=row(
        "the mean in place of the sum, convolutions of 3 that halve the map, one level skipped",
        {
            "d_model": 12,
            "kernel_size": 3,
            "stride": 2,
            "padding": 1,
            "fuse_type": "avg",
            "fpn_top_down_levels": [0, 2, 3],
        },
        _maps(32),
    ),
    own_codes=row(
        "position encodings of another width, given from outside",
        {
            "d_model": 16,
            "position_encoding": make("PositionEmbeddingSine", num_pos_feats=16, temperature=100),
        },
        _maps(16),
    ),
)


def encoder(scalp: int, levels: list[int] | None = None, interpolation: str = "nearest") -> Make:
    """A small image encoder of SAM 2, with features 256 channels wide as memory needs them."""
    return make(
        "ImageEncoder",
        trunk=make("Hiera", **SMALL_HIERA),
        neck=make(
            "FpnNeck",
            d_model=256,
            backbone_channel_list=[128, 64, 32, 16],
            fpn_interp_model=interpolation,
            fpn_top_down_levels=[2, 3] if levels is None else levels,
        ),
        scalp=scalp,
    )


_IMAGE_ENCODER = family(block="ImageEncoder", bound64=1e-10).of(
    all_levels=row(
        "without scalp the coarsest map, of stride 32, is the features",
        encoder(0, [1, 2, 3], "bilinear").kwargs,
        {"x": uniform(1, 3, 64, 64)},
    ),
    scalp=row(
        "as released the coarsest level only feeds the next and is left out of all three results",
        encoder(1).kwargs,
        {"x": uniform(2, 3, 64, 96)},
    ),
)

CASES = _HIERA + _FPN_NECK + _IMAGE_ENCODER
