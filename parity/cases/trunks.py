"""Cases of released trunks by themselves, at their full width: all that timm has of these models."""

from parity.cases.drive import pictures
from parity.cases.family import family, row
from parity.execution.case import Torch

CASES = (
    *family(block="ImageEncoderViT").of(
        sam_vit_b=row(
            "the released image encoder of SAM 1, which every library has",
            {
                "img_size": 512,
                "norm_layer": Torch("LayerNorm", {"eps": 1e-6}),
                "use_rel_pos": True,
                "window_size": 14,
                "global_attn_indexes": (2, 5, 8, 11),
            },
            {"x": pictures(1, 3, 512, 512)},
            bound64=1e-10,
            quick=False,
        ),
    ),
    *family(block="Hiera").of(
        hiera_tiny=row(
            "the released trunk of SAM 2, which every library has",
            {
                "embed_dim": 96,
                "stages": (1, 2, 7, 2),
                "global_att_blocks": (5, 7, 9),
                "window_pos_embed_bkg_spatial_size": (7, 7),
            },
            {"x": pictures(1, 3, 256, 256)},
            bound64=1e-10,
            quick=False,
        ),
    ),
)
