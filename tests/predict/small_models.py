"""A small SAM and a small SAM 2 with filled weights."""

from parity.execution.fill import fill_
from samblocks.blocks import MemoryAttentionLayer, TwoWayTransformer
from samblocks.models import (
    FpnNeck,
    Hiera,
    ImageEncoder,
    ImageEncoderViT,
    MaskDecoder,
    MemoryAttention,
    MemoryEncoder,
    PromptEncoder,
    SAM2Model,
    SAMModel,
)

SIDE = 64


def sam() -> SAMModel:
    model = SAMModel(
        ImageEncoderViT(SIDE, embed_dim=32, depth=2, num_heads=2, out_chans=16),
        PromptEncoder(16, (4, 4), (SIDE, SIDE), 16, embed_corner_labels=False),
        MaskDecoder(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32)),
    )
    return fill_(model).eval()  # type: ignore[return-value]


def sam2() -> SAM2Model:
    trunk = Hiera(embed_dim=8, stages=(1, 1, 1, 1), global_att_blocks=(), window_spec=(8, 4, 4, 2))
    encoder = ImageEncoder(trunk, FpnNeck(256, trunk.channel_list, fpn_top_down_levels=[2, 3]), scalp=1)
    attention = MemoryAttention(256, True, MemoryAttentionLayer(dim_feedforward=64), num_layers=1)
    model = SAM2Model(
        encoder,
        attention,
        MemoryEncoder(out_dim=64),
        image_size=SIDE,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
    )
    return fill_(model).eval()  # type: ignore[return-value]
