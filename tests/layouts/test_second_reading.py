"""The same maps written a second time, as substitutions: shapes alone would not show two layers exchanged.

Many tensors of one layout have the same shape, so the manifests cannot tell `norm1` from `norm2`. These lists
were written from what each module does, not from the rules; transformers' names are read a second time by the
adapters that run it as a reference.
"""

import re

import pytest

from parity.references.common.prefixes import Part, translate
from parity.references.transformers import whole_sam1, whole_sam2
from samblocks.layouts import meta_tensors, table
from samblocks.variants import VARIANTS

Substitutions = list[tuple[str, str]]

TIMM_SAM: Substitutions = [(r"mlp\.lin", "mlp.fc"), (r"^image_encoder\.", "")]
TIMM_SAM2: Substitutions = [
    (r"mlp\.layers\.0", "mlp.fc1"),
    (r"mlp\.layers\.1", "mlp.fc2"),
    (r"^image_encoder\.trunk\.", ""),
]
MUGGLED_PROMPTS: Substitutions = [
    (r"^prompt_encoder\.pe_layer.*", "coordinate_encoder.gaussian_matrix"),
    (r"^prompt_encoder\.point_embeddings\.0\.weight", "prompt_encoder.point_encoder.bg_embed"),
    (r"^prompt_encoder\.point_embeddings\.1\.weight", "prompt_encoder.point_encoder.fg_embed"),
    (r"^prompt_encoder\.point_embeddings\.2\.weight", "prompt_encoder.box_encoder.tl_embed"),
    (r"^prompt_encoder\.point_embeddings\.3\.weight", "prompt_encoder.box_encoder.br_embed"),
    (r"^prompt_encoder\.not_a_point_embed\.weight", "prompt_encoder.point_encoder.not_a_point_embed"),
    (r"^prompt_encoder\.no_mask_embed\.weight", "mask_decoder.maskhint_encoder.no_mask_embed"),
    (r"^prompt_encoder\.mask_downscaling", "mask_decoder.maskhint_encoder.downscaler"),
    (r"mask_decoder\.iou_token\.weight", "mask_decoder.cls_iou_token"),
    (r"mask_decoder\.mask_tokens\.weight", "mask_decoder.cls_mask_tokens"),
    (r"mask_decoder\.obj_score_token\.weight", "mask_decoder.cls_obj_token"),
    (r"iou_prediction_head\.layers\.2", "iou_token_mlp.layers.4"),
    (r"iou_prediction_head\.layers\.1", "iou_token_mlp.layers.2"),
    (r"iou_prediction_head\.layers\.0", "iou_token_mlp.layers.0"),
    (r"output_hypernetworks_mlps\.(\d)\.layers\.2", r"maskgen.mask_token_mlps.\1.layers.4"),
    (r"output_hypernetworks_mlps\.(\d)\.layers\.1", r"maskgen.mask_token_mlps.\1.layers.2"),
    (r"output_hypernetworks_mlps\.(\d)\.layers\.0", r"maskgen.mask_token_mlps.\1.layers.0"),
    (r"(transformer\.layers\.\d)\.self_attn", r"\1.prompt_selfattn.attn"),
    (r"(transformer\.layers\.\d)\.cross_attn_token_to_image", r"\1.prompt_crossattn.attn"),
    (r"(transformer\.layers\.\d)\.cross_attn_image_to_token", r"\1.image_crossattn.attn"),
    (r"(transformer\.layers\.\d)\.norm1", r"\1.prompt_selfattn.norm"),
    (r"(transformer\.layers\.\d)\.norm2", r"\1.prompt_crossattn.norm"),
    (r"(transformer\.layers\.\d)\.norm3", r"\1.prompt_mlpnorm.norm"),
    (r"(transformer\.layers\.\d)\.norm4", r"\1.image_crossattn.norm"),
    (r"(transformer\.layers\.\d)\.mlp\.(lin1|layers\.0)", r"\1.prompt_mlpnorm.mlp.0"),
    (r"(transformer\.layers\.\d)\.mlp\.(lin2|layers\.1)", r"\1.prompt_mlpnorm.mlp.2"),
    (r"transformer\.final_attn_token_to_image", "transformer.final_prompt_crossattn.attn"),
    (r"transformer\.norm_final_attn", "transformer.final_prompt_crossattn.norm"),
]
MUGGLED_BLOCK: Substitutions = [
    (r"(image_encoder\..*)\.norm1\.", r"\1.norm_preattn."),
    (r"(image_encoder\..*)\.norm2\.", r"\1.norm_premlp."),
    (r"(image_encoder\..*\.mlp)\.(lin2|layers\.1)", r"\1.layers.2"),
    (r"(image_encoder\..*\.mlp)\.(lin1|layers\.0)", r"\1.layers.0"),
    (r"attn\.rel_pos_([hw])", r"attn.relpos.relpos_\1_1d"),
]
MUGGLED_SAM: Substitutions = [
    *((rf"encoder\.blocks\.{3 * s + 2}\.", f"encoder.stages.{s}.global_attn_block.") for s in range(4)),
    *(
        (rf"encoder\.blocks\.{3 * s + j}\.", f"encoder.stages.{s}.windowed_attn_blocks.{j}.global_attn.")
        for s in range(4)
        for j in range(2)
    ),
    *MUGGLED_BLOCK,
    (r"image_encoder\.pos_embed", "image_encoder.posenc.base_embedding_bchw"),
    (r"image_encoder\.neck", "image_encoder.channel_projection"),
    (r"output_upscaling", "maskgen.img_patch_upscaler"),
    *MUGGLED_PROMPTS,
]
TINY = ("0.0", "1.0", "1.1", "2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6", "3.0", "3.1")
MUGGLED_SAM2: Substitutions = [
    *((rf"trunk\.blocks\.{number}\.", f"hiera.stages.{place}.") for number, place in enumerate(TINY)),
    *MUGGLED_BLOCK,
    (r"trunk\.pos_embed$", "posenc.base_embedding"),
    (r"trunk\.pos_embed_window", "posenc.base_window_tile"),
    (r"trunk\.patch_embed", "patch_embed"),
    (r"neck\.convs\.0\.conv", "output_projection.halfres_proj"),
    (r"neck\.convs\.1\.conv", "output_projection.lowres_x1_proj"),
    (r"neck\.convs\.2\.conv", "output_projection.hires_x2_proj.0"),
    (r"neck\.convs\.3\.conv", "output_projection.hires_x4_proj.0"),
    (r"sam_mask_decoder\.conv_s1", "image_encoder.output_projection.hires_x2_proj.1"),
    (r"sam_mask_decoder\.conv_s0", "image_encoder.output_projection.hires_x4_proj.1"),
    (r"^sam_", ""),
    (r"output_upscaling\.0", "maskgen.img_patch_upscaler.upscale_1"),
    (r"output_upscaling\.1", "maskgen.img_patch_upscaler.norm"),
    (r"output_upscaling\.3", "maskgen.img_patch_upscaler.upscale_2"),
    *((rf"pred_obj_score_head\.layers\.{i}\.", f"objptrgen.score_mlp.layers.{2 * i}.") for i in (2, 1, 0)),
    *(
        (rf"obj_ptr_proj\.layers\.{i}\.", f"mask_decoder.objptrgen.pointer_mlp.layers.{2 * i}.")
        for i in (2, 1, 0)
    ),
    *MUGGLED_PROMPTS,
    (r"^no_obj_ptr", "mask_decoder.objptrgen.no_ptr_embed"),
    (r"^mask_downsample", "mask_decoder.mask_to_ptr_hint_downsampler"),
    (r"mask_downsampler\.encoder\.12", "mask_downsampler.out_proj"),
    (r"mask_downsampler\.encoder", "mask_downsampler.downsample"),
    (r"memory_encoder\.pix_feat_proj", "memory_encoder.image_proj"),
    (r"fuser\.layers\.(\d)\.dwconv", r"channel_mixer.\1.per_channel_conv"),
    (r"fuser\.layers\.(\d)\.norm", r"channel_mixer.\1.norm"),
    (r"fuser\.layers\.(\d)\.pwconv1", r"channel_mixer.\1.inverted_bottleneck.0"),
    (r"fuser\.layers\.(\d)\.pwconv2", r"channel_mixer.\1.inverted_bottleneck.2"),
    (r"fuser\.layers\.(\d)\.gamma", r"channel_mixer.\1.per_channel_scale"),
    (r"^memory_attention\.norm", "memory_image_fusion.fusion_transformer.out_norm"),
    (r"^memory_attention\.(layers\.\d)", r"memory_image_fusion.fusion_transformer.\1"),
    (r"(fusion_transformer\.layers\.\d)\.self_attn", r"\1.image_selfattn.attn"),
    (r"(fusion_transformer\.layers\.\d)\.cross_attn_image", r"\1.image_crossattn.attn"),
    (r"(fusion_transformer\.layers\.\d)\.norm1", r"\1.image_selfattn.norm"),
    (r"(fusion_transformer\.layers\.\d)\.norm2", r"\1.image_crossattn.norm"),
    (r"(fusion_transformer\.layers\.\d)\.norm3", r"\1.image_mlp.mlp.0"),
    (r"(fusion_transformer\.layers\.\d)\.linear1", r"\1.image_mlp.mlp.1"),
    (r"(fusion_transformer\.layers\.\d)\.linear2", r"\1.image_mlp.mlp.3"),
    (r"^no_mem_embed", "memory_image_fusion.no_mem_embed_bchw"),
    (r"^maskmem_tpos_enc", "memory_image_fusion.memconcat.memposenc.base_memposenc_offsets"),
    (r"^obj_ptr_tpos_proj", "memory_image_fusion.memconcat.ptrposenc.pointer_pos_proj"),
    (r"^no_obj_embed_spatial", "memory_encoder.missing_obj_encoder.no_object_embed"),
]


@pytest.mark.parametrize(
    ("layout", "variant", "substitutions", "count"),
    [
        ("timm", "sam_vit_b", TIMM_SAM, 177),
        ("timm", "sam2.1_hiera_tiny", TIMM_SAM2, 154),
        ("muggled", "sam_vit_b", MUGGLED_SAM, 314),
        ("muggled", "sam2.1_hiera_tiny", MUGGLED_SAM2, 470),
    ],
)
def test_substitutions_give_the_same_names(
    layout: str, variant: str, substitutions: Substitutions, count: int
) -> None:
    rules, compared = table(layout, VARIANTS[variant]), 0
    for key in meta_tensors(VARIANTS[variant]):
        names = rules.to_other(key)
        if names:
            name = key
            for pattern, replacement in substitutions:
                name = re.sub(pattern, replacement, name)
            assert name == names[-1], key
            compared += 1
    assert compared == count


@pytest.mark.parametrize(
    ("variant", "parts", "count"),
    [("sam_vit_b", whole_sam1.parts(3), 314), ("sam2.1_hiera_tiny", whole_sam2.parts(4), 471)],
)
def test_adapters_of_transformers_read_the_same_names(
    variant: str, parts: tuple[Part, ...], count: int
) -> None:
    rules, compared = table("transformers", VARIANTS[variant]), 0
    for key in meta_tensors(VARIANTS[variant]):
        for name in rules.to_other(key):
            found, _ = translate(parts, name)
            packed = (
                name == "prompt_encoder.point_embed.weight"
            )  # its rows are tensors of their own in Meta's
            assert re.sub(r"\.\d\.weight$", "", key) == found if packed else key == found, (key, name)
        compared += bool(rules.to_other(key))
    assert compared == count
