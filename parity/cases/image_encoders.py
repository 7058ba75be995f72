"""Cases of the image encoders of SAM 1 and MobileSAM: ImageEncoderViT and TinyViT, at small sizes."""

from typing import Any

from torch import nn
from torch.nn.functional import interpolate

from parity.cases.family import family, row
from parity.cases.imitations import instead
from parity.execution.case import Known, NoCounterpart, Side, Torch, uniform
from parity.execution.training import gradients

_VIT = {
    "img_size": 96,
    "embed_dim": 32,
    "depth": 4,
    "num_heads": 2,
    "out_chans": 24,
    "norm_layer": Torch("LayerNorm", {"eps": 1e-6}),
    "use_rel_pos": True,
    "window_size": 4,
    "global_attn_indexes": (1, 3),
}


def _at_another_size(side: Side) -> Any:
    if side.library.name == "meta":
        raise NoCounterpart("takes images of the size that it was made for only")
    return side.net(side.inputs["x"])


def _table_resized_smoothly(side: Side) -> Any:
    x, net = side.inputs["x"], side.net
    table = net.pos_embed.permute(0, 3, 1, 2)
    size = [length // 16 for length in x.shape[2:]]
    resized = interpolate(table, size, mode="bicubic", antialias=True)
    net.pos_embed = nn.Parameter(resized.permute(0, 2, 3, 1))
    return net(x)


_IMAGE_ENCODER_VIT = family(block="ImageEncoderViT", bound64=1e-10).of(
    released_shape=row(
        "windows that pad the map and global blocks in turn, both with relative positions, then the neck",
        _VIT,
        {"x": uniform(2, 3, 96, 96)},
    ),
    defaults=row(
        "by default there are no windows and no relative positions, and norms have torch's epsilon",
        {"img_size": 48, "depth": 1, "embed_dim": 24},
        {"x": uniform(1, 3, 48, 48)},
    ),
    bare=row(
        "other patches and channels, without positions of either kind and without a bias of q, k and v",
        {
            "img_size": 40,
            "patch_size": 8,
            "in_chans": 4,
            "embed_dim": 24,
            "depth": 2,
            "num_heads": 3,
            "mlp_ratio": 2.5,
            "out_chans": 12,
            "qkv_bias": False,
            "act_layer": Torch("ReLU"),
            "use_abs_pos": False,
            "window_size": 2,
        },
        {"x": uniform(1, 4, 40, 40)},
    ),
    another_size=row(
        "for other sizes the table of positions is resized to the nearest, the relative ones linearly",
        _VIT,
        {"x": uniform(1, 3, 64, 144)},
        call=_at_another_size,
        known={
            "timm": Known(
                cause="timm resizes the table of positions smoothly, not to the nearest",
                imitation=instead(_table_resized_smoothly),
                shown="our table resized by bicubic interpolation",
            )
        },
    ),
    wide=row(
        "tables for images that are wider than high; Meta's and Ultralytics' classes are given the same ones",
        {**_VIT, "img_size": (64, 144)},
        {"x": uniform(1, 3, 64, 144)},
    ),
    one_channel=row(
        "images of one channel",
        {**_VIT, "img_size": 48, "in_chans": 1, "depth": 2},
        {"x": uniform(1, 1, 48, 48)},
    ),
    five_channels=row(
        "images of five channels",
        {**_VIT, "img_size": 48, "in_chans": 5, "depth": 2},
        {"x": uniform(1, 5, 48, 48)},
    ),
    gradients=row(
        "the backward pass through windows, relative positions and the neck",
        {**_VIT, "img_size": 64, "embed_dim": 12, "depth": 2, "window_size": 3},
        {"x": uniform(1, 3, 64, 64)},
        call=gradients(),
    ),
)

# The last stage keeps its size only where the width is 320, 448 or 576: so are the released ones.
_TINY = {
    "img_size": 64,
    "num_classes": 5,
    "embed_dims": (8, 16, 24, 320),
    "depths": (1, 2, 2, 1),
    "num_heads": (1, 2, 3, 5),
}


_TINY_VIT = family(block="TinyViT", kwargs=_TINY, bound64=1e-10).of(
    released_shape=row(
        "convolutions, then windows of 7, 14 and 7 with biases by distance, of which each stage pads some",
        {"img_size": 128, "drop_path_rate": 0.0, "layer_lr_decay": 0.8},
        {"x": uniform(2, 3, 128, 128)},
    ),
    windows_fit=row(
        "a map of the size of a window is not cut, one of a multiple of it is not padded",
        {"window_sizes": (7, 8, 4, 2)},
        {"x": uniform(1, 3, 64, 64)},
    ),
    wide_448=row(
        "a last stage of 448 channels, as in the larger one of 11 million, keeps its size too",
        {"embed_dims": (8, 16, 24, 448), "num_heads": (1, 2, 3, 14), "depths": (1, 1, 1, 1)},
        {"x": uniform(1, 3, 64, 64)},
    ),
    wide_576=row(
        "and one of 576 channels, as in that of 21 million",
        {"embed_dims": (8, 16, 24, 576), "num_heads": (1, 2, 3, 18), "depths": (1, 1, 1, 1)},
        {"x": uniform(1, 3, 64, 64)},
    ),
    other_settings=row(
        "other widths of branches and kernels, four channels, and rates that only training would see",
        {
            "in_chans": 4,
            "mlp_ratio": 2.0,
            "mbconv_expand_ratio": 2.0,
            "local_conv_size": 5,
            "drop_rate": 0.2,
            "drop_path_rate": 0.3,
        },
        {"x": uniform(1, 4, 64, 64)},
    ),
    train=row(
        "in training batch norms use the batch's statistics, and biases are gathered in each call",
        {"drop_path_rate": 0.0},
        {"x": uniform(3, 3, 64, 64)},
        train=True,
    ),
    gradients=row(
        "the backward pass with activations computed again, into the biases by distance too",
        {"use_checkpoint": True, "drop_path_rate": 0.0, "num_classes": 0},
        {"x": uniform(2, 3, 64, 64)},
        call=gradients(vanishing=("head.weight", "head.bias")),
        train=True,
    ),
)

CASES = _IMAGE_ENCODER_VIT + _TINY_VIT
