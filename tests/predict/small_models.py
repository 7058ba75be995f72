"""A small SAM and a small SAM 2 with filled weights."""

from dataclasses import replace

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
from samblocks.models.build import assemble
from samblocks.variants import VARIANTS, SAM2Variant

SIDE = 64


def sam() -> SAMModel:
    model = SAMModel(
        ImageEncoderViT(SIDE, embed_dim=32, depth=2, num_heads=2, out_chans=16),
        PromptEncoder(16, (4, 4), (SIDE, SIDE), 16, embed_corner_labels=False),
        MaskDecoder(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32)),
    )
    return fill_(model).eval()


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
    return fill_(model).eval()


def tracker(variant: str = "sam2.1_hiera_tiny", *, present: float = 0.0) -> SAM2Model:
    """A released SAM 2 in everything but its size; `present` moves the score by which an object is seen."""
    row = VARIANTS[variant]
    assert isinstance(row, SAM2Variant)
    trunk = replace(
        row.trunk, embed_dim=8, stages=(1, 1, 1, 1), global_att_blocks=(), window_spec=(8, 4, 4, 2)
    )
    memory = replace(row.memory, num_layers=1, dim_feedforward=64)
    prompt = replace(row.prompt, embed_dim=64, transformer_mlp_dim=64, iou_head_hidden_dim=64)
    model = assemble(replace(row, trunk=trunk, memory=memory, prompt=prompt), image_size=SIDE, mem_dim=16)
    fill_(model)
    for name, parameter in model.named_parameters():
        if name == "sam_mask_decoder.pred_obj_score_head.layers.2.bias":
            parameter.data += present
    return model  # type: ignore[return-value]
