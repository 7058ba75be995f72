"""The same maps written a second time, as substitutions: shapes alone would not show two layers exchanged.

Many tensors of one layout have the same shape, so the manifests cannot tell `norm1` from `norm2`. These lists
were written from what each module does, not from the rules.
"""

import re

import pytest

from samblocks.layouts import meta_tensors, table

Substitutions = list[tuple[str, str]]

HEAD: Substitutions = [
    (r"(mlps\.\d|head|obj_ptr_proj)\.layers\.0\.", r"\1.proj_in."),
    (r"(mlps\.\d|head|obj_ptr_proj)\.layers\.2\.", r"\1.proj_out."),
    (r"(mlps\.\d|head|obj_ptr_proj)\.layers\.1\.", r"\1.layers.0."),
]
DECODER: Substitutions = [
    *HEAD,
    (r"(mask_decoder\.transformer\.layers\.\d)\.norm(\d)", r"\1.layer_norm\2"),
    (r"transformer\.norm_final_attn", "transformer.layer_norm_final_attn"),
    (r"output_upscaling\.0", "upscale_conv1"),
    (r"output_upscaling\.1", "upscale_layer_norm"),
    (r"output_upscaling\.3", "upscale_conv2"),
    (r"mask_downscaling\.0", "mask_embed.conv1"),
    (r"mask_downscaling\.1", "mask_embed.layer_norm1"),
    (r"mask_downscaling\.3", "mask_embed.conv2"),
    (r"mask_downscaling\.4", "mask_embed.layer_norm2"),
    (r"mask_downscaling\.6", "mask_embed.conv3"),
    (r"prompt_encoder\.pe_layer.*", "prompt_encoder.shared_embedding.positional_embedding"),
]
TRANSFORMERS_SAM: Substitutions = [
    (r"^image_encoder\.blocks\.(\d+)\.norm(\d)", r"image_encoder.blocks.\1.layer_norm\2"),
    (r"^image_encoder\.blocks", "image_encoder.layers"),
    (r"patch_embed\.proj", "patch_embed.projection"),
    (r"neck\.0", "neck.conv1"),
    (r"neck\.1", "neck.layer_norm1"),
    (r"neck\.2", "neck.conv2"),
    (r"neck\.3", "neck.layer_norm2"),
    (r"^image_encoder", "vision_encoder"),
    (r"point_embeddings", "point_embed"),
    *DECODER,
]
TRANSFORMERS_SAM2: Substitutions = [
    (r"^sam_", ""),
    (r"^obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
    (r"^no_mem_embed", "no_memory_embedding"),
    (r"^no_mem_pos_enc", "no_memory_positional_encoding"),
    (r"^no_obj_ptr", "no_object_pointer"),
    (r"^no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    (r"^maskmem_tpos_enc", "memory_temporal_positional_encoding"),
    *DECODER,
    (r"^obj_ptr_proj", "object_pointer_proj"),
    (r"(blocks\.\d+|transformer\.layers\.\d)\.mlp\.layers\.0", r"\1.mlp.proj_in"),
    (r"(blocks\.\d+|transformer\.layers\.\d)\.mlp\.layers\.1", r"\1.mlp.proj_out"),
    (r"(blocks\.\d+)\.norm(\d)", r"\1.layer_norm\2"),
    (r"patch_embed\.proj", "patch_embed.projection"),
    (r"^image_encoder\.trunk", "vision_encoder.backbone"),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv", r"vision_encoder.neck.convs.\1"),
    (r"^(memory_attention\.layers\.\d)\.norm(\d)", r"\1.layer_norm\2"),
    (r"^memory_attention\.norm", "memory_attention.layer_norm"),
    (r"^memory_encoder\.out_proj", "memory_encoder.projection"),
    (r"(attn|attn_image|token|token_to_image)\.out_proj", r"\1.o_proj"),
    (r"^memory_encoder\.pix_feat_proj", "memory_encoder.feature_projection"),
    (r"fuser\.layers\.(\d)\.dwconv", r"memory_fuser.layers.\1.depthwise_conv"),
    (r"fuser\.layers\.(\d)\.norm", r"memory_fuser.layers.\1.layer_norm"),
    (r"fuser\.layers\.(\d)\.pwconv", r"memory_fuser.layers.\1.pointwise_conv"),
    (r"fuser\.layers\.(\d)\.gamma", r"memory_fuser.layers.\1.scale"),
    (r"encoder\.12\.", "final_conv."),
    *((rf"downsampler\.encoder\.{3 * i}\.", f"downsampler.layers.{i}.conv.") for i in range(4)),
    *((rf"downsampler\.encoder\.{3 * i + 1}\.", f"downsampler.layers.{i}.layer_norm.") for i in range(4)),
    (r"downsampler\.final_conv", "downsampler.final_conv"),
    (r"point_embeddings\.\d", "point_embed"),
]
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
        ("transformers", "sam_vit_b", TRANSFORMERS_SAM, 314),
        ("transformers", "sam2.1_hiera_tiny", TRANSFORMERS_SAM2, 471),
        ("timm", "sam_vit_b", TIMM_SAM, 177),
        ("timm", "sam2.1_hiera_tiny", TIMM_SAM2, 154),
        ("muggled", "sam_vit_b", MUGGLED_SAM, 314),
        ("muggled", "sam2.1_hiera_tiny", MUGGLED_SAM2, 470),
    ],
)
def test_substitutions_give_the_same_names(
    layout: str, variant: str, substitutions: Substitutions, count: int
) -> None:
    rules, compared = table(layout, variant), 0
    for key in meta_tensors(variant):
        names = rules.to_other(key)
        if names:
            name = key
            for pattern, replacement in substitutions:
                name = re.sub(pattern, replacement, name)
            assert name == names[-1], key
            compared += 1
    assert compared == count
