"""Cases of the image encoders of SAM 1 and MobileSAM: ImageEncoderViT and TinyViT, at small sizes."""

from typing import Any

from parity.cases.calls import gradients
from parity.execution.case import Case, NoCounterpart, Side, Torch, uniform

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


_IMAGE_ENCODER_VIT = (
    Case(
        block="ImageEncoderViT",
        name="released_shape",
        why="windows that pad the map and global blocks in turn, both with relative positions, then the neck",
        kwargs=_VIT,
        inputs={"x": uniform(2, 3, 96, 96)},
        bound64=1e-10,
    ),
    Case(
        block="ImageEncoderViT",
        name="defaults",
        why="by default there are no windows and no relative positions, and norms have torch's epsilon",
        kwargs={"img_size": 48, "depth": 1, "embed_dim": 24},
        inputs={"x": uniform(1, 3, 48, 48)},
        bound64=1e-10,
    ),
    Case(
        block="ImageEncoderViT",
        name="bare",
        why="other patches and channels, without positions of either kind and without a bias of q, k and v",
        kwargs={
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
        inputs={"x": uniform(1, 4, 40, 40)},
        bound64=1e-10,
    ),
    Case(
        block="ImageEncoderViT",
        name="another_size",
        why="for other sizes the table of positions is resized to the nearest, the relative ones linearly",
        kwargs=_VIT,
        inputs={"x": uniform(1, 3, 64, 144)},
        call=_at_another_size,
        bound64=1e-10,
        known={"timm": "timm resizes the table of positions smoothly, not to the nearest"},
    ),
    Case(
        block="ImageEncoderViT",
        name="gradients",
        why="the backward pass through windows, relative positions and the neck",
        kwargs={**_VIT, "img_size": 64, "embed_dim": 12, "depth": 2, "window_size": 3},
        inputs={"x": uniform(1, 3, 64, 64)},
        call=gradients(),
        bound64=1e-10,
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


_TINY_VIT = (
    Case(
        block="TinyViT",
        name="released_shape",
        why="convolutions, then windows of 7, 14 and 7 with biases by distance, of which each stage pads some",
        kwargs={**_TINY, "img_size": 128, "drop_path_rate": 0.0, "layer_lr_decay": 0.8},
        inputs={"x": uniform(2, 3, 128, 128)},
        bound64=1e-10,
    ),
    Case(
        block="TinyViT",
        name="windows_fit",
        why="a map of the size of a window is not cut, one of a multiple of it is not padded",
        kwargs={**_TINY, "window_sizes": (7, 8, 4, 2)},
        inputs={"x": uniform(1, 3, 64, 64)},
        bound64=1e-10,
    ),
    Case(
        block="TinyViT",
        name="other_settings",
        why="other widths of branches and kernels, four channels, and rates that only training would see",
        kwargs={
            **_TINY,
            "in_chans": 4,
            "mlp_ratio": 2.0,
            "mbconv_expand_ratio": 2.0,
            "local_conv_size": 5,
            "drop_rate": 0.2,
            "drop_path_rate": 0.3,
        },
        inputs={"x": uniform(1, 4, 64, 64)},
        bound64=1e-10,
    ),
    Case(
        block="TinyViT",
        name="train",
        why="in training batch norms use the batch's statistics, and biases are gathered in each call",
        kwargs={**_TINY, "drop_path_rate": 0.0},
        inputs={"x": uniform(3, 3, 64, 64)},
        train=True,
        bound64=1e-10,
    ),
    Case(
        block="TinyViT",
        name="gradients",
        why="the backward pass with activations computed again, into the biases by distance too",
        kwargs={**_TINY, "use_checkpoint": True, "drop_path_rate": 0.0, "num_classes": 0},
        inputs={"x": uniform(2, 3, 64, 64)},
        call=gradients(vanishing=("head.weight", "head.bias")),  # which nothing uses
        train=True,
        bound64=1e-10,
    ),
)

CASES = _IMAGE_ENCODER_VIT + _TINY_VIT
