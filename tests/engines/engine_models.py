"""Small models with filled weights, in which every part of an engine runs."""

from parity.execution.fill import fill_
from samblocks.blocks import MemoryAttentionLayer, TwoWayTransformer
from samblocks.models import (
    ImageEncoderViT,
    MaskDecoder,
    MemoryAttention,
    MemoryEncoder,
    PromptEncoder,
    SAM2Model,
    SAMModel,
)
from samblocks.models.sam2.hiera import Hiera
from samblocks.models.sam2.image_encoder import FpnNeck, ImageEncoder


def small_sam() -> SAMModel:
    encoder = ImageEncoderViT(
        64, embed_dim=32, depth=2, num_heads=2, out_chans=16, window_size=3, use_rel_pos=True
    )
    prompts = PromptEncoder(16, (4, 4), (64, 64), 16, embed_corner_labels=False)
    decoder = MaskDecoder(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32))
    return fill_(SAMModel(encoder, prompts, decoder)).eval()


def small_sam2() -> SAM2Model:
    trunk = Hiera(embed_dim=8, stages=(1, 1, 1, 1), global_att_blocks=(), window_spec=(8, 4, 4, 2))
    neck = FpnNeck(256, trunk.channel_list, fpn_top_down_levels=[2, 3], fpn_interp_model="nearest")
    attention = MemoryAttention(256, True, MemoryAttentionLayer(dim_feedforward=64), num_layers=1)
    model = SAM2Model(
        ImageEncoder(trunk, neck, scalp=1),
        attention,
        MemoryEncoder(out_dim=64),
        image_size=64,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        use_obj_ptrs_in_encoder=True,
        pred_obj_scores=True,
    )
    return fill_(model).eval()
