"""Cases of released trunks by themselves, at their full width: all that timm has of these models."""

from parity.cases.drive import pictures
from parity.execution.case import Case, Torch

CASES = (
    Case(
        block="ImageEncoderViT",
        name="sam_vit_b",
        why="the released image encoder of SAM 1, which every library has",
        kwargs={
            "img_size": 512,
            "norm_layer": Torch("LayerNorm", {"eps": 1e-6}),
            "use_rel_pos": True,
            "window_size": 14,
            "global_attn_indexes": (2, 5, 8, 11),
        },
        inputs={"x": pictures(1, 3, 512, 512)},
        bound64=1e-10,
        quick=False,
    ),
    Case(
        block="Hiera",
        name="hiera_tiny",
        why="the released trunk of SAM 2, which every library has",
        kwargs={
            "embed_dim": 96,
            "stages": (1, 2, 7, 2),
            "global_att_blocks": (5, 7, 9),
            "window_pos_embed_bkg_spatial_size": (7, 7),
        },
        inputs={"x": pictures(1, 3, 256, 256)},
        bound64=1e-10,
        quick=False,
    ),
)
