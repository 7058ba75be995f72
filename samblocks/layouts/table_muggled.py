"""Meta's layout and muggled_sam's, as that library writes it since 2026-04-30.

Blocks stand there by stage and place, so their rules are written out number by number. Norms over channels
have shape 1xCx1x1, and one tensor more holds the builder's arguments.
"""

from __future__ import annotations

import json
from typing import Any

from samblocks.layouts.operations import Create
from samblocks.layouts.rules import Rule, Table, only_meta, only_other, reshaped, same
from samblocks.layouts.tensors import TensorInfo
from samblocks.variants import HieraConfig, ImageEncoderViTConfig

_CONFIG = "muggled_sam's own description of the model, made from the variant"
_NO_MEM_POS = "muggled_sam does not keep it; no public variant reads it, zeros stand in"


def _plane(meta: str, other: str) -> list[Rule]:
    """A norm over channels, which muggled_sam keeps with the axes of an image."""
    return [reshaped(f"{meta}.*", "c", f"{other}.*", "1 c 1 1")]


def _heads(meta: str, other: str) -> list[Rule]:
    """A three-layer perceptron: muggled_sam counts the activations too."""
    return [same(f"{meta}.layers.{layer}.*", f"{other}.layers.{2 * layer}.*") for layer in range(3)]


def _block(meta: str, other: str, mlp: tuple[str, str]) -> list[Rule]:
    return [
        same(f"{meta}.norm1.*", f"{other}.norm_preattn.*"),
        same(f"{meta}.attn.qkv.*", f"{other}.attn.qkv.*"),
        same(f"{meta}.attn.proj.*", f"{other}.attn.proj.*"),
        same(f"{meta}.norm2.*", f"{other}.norm_premlp.*"),
        same(f"{meta}.mlp.{mlp[0]}.*", f"{other}.mlp.layers.0.*"),
        same(f"{meta}.mlp.{mlp[1]}.*", f"{other}.mlp.layers.2.*"),
    ]


def _prompts(meta: str) -> list[Rule]:
    points = ((1, "point_encoder.fg_embed"), (0, "point_encoder.bg_embed"))
    boxes = ((2, "box_encoder.tl_embed"), (3, "box_encoder.br_embed"))
    return [
        same(f"{meta}.pe_layer.positional_encoding_gaussian_matrix", "coordinate_encoder.gaussian_matrix"),
        *(
            same(f"{meta}.point_embeddings.{label}.weight", f"prompt_encoder.{name}")
            for label, name in points
        ),
        same(f"{meta}.not_a_point_embed.weight", "prompt_encoder.point_encoder.not_a_point_embed"),
        *(same(f"{meta}.point_embeddings.{label}.weight", f"prompt_encoder.{name}") for label, name in boxes),
    ]


def _mask_hints(meta: str) -> list[Rule]:
    ours, theirs = f"{meta}.mask_downscaling", "mask_decoder.maskhint_encoder.downscaler"
    return [
        same(f"{meta}.no_mask_embed.weight", "mask_decoder.maskhint_encoder.no_mask_embed"),
        same(f"{ours}.0.*", f"{theirs}.0.*"),
        *_plane(f"{ours}.1", f"{theirs}.1"),
        same(f"{ours}.3.*", f"{theirs}.3.*"),
        *_plane(f"{ours}.4", f"{theirs}.4"),
        same(f"{ours}.6.*", f"{theirs}.6.*"),
    ]


def _attention(meta: str, other: str) -> list[Rule]:
    return [
        same(f"{meta}.{name}.*", f"{other}.{name}.*") for name in ("q_proj", "k_proj", "v_proj", "out_proj")
    ]


def _two_way(meta: str, mlp: tuple[str, str]) -> list[Rule]:
    ours, theirs = f"{meta}.transformer.layers.{{i}}", "mask_decoder.transformer.layers.{i}"
    end = "mask_decoder.transformer.final_prompt_crossattn"
    return [
        *_attention(f"{ours}.self_attn", f"{theirs}.prompt_selfattn.attn"),
        same(f"{ours}.norm1.*", f"{theirs}.prompt_selfattn.norm.*"),
        *_attention(f"{ours}.cross_attn_token_to_image", f"{theirs}.prompt_crossattn.attn"),
        same(f"{ours}.norm2.*", f"{theirs}.prompt_crossattn.norm.*"),
        same(f"{ours}.mlp.{mlp[0]}.*", f"{theirs}.prompt_mlpnorm.mlp.0.*"),
        same(f"{ours}.mlp.{mlp[1]}.*", f"{theirs}.prompt_mlpnorm.mlp.2.*"),
        same(f"{ours}.norm3.*", f"{theirs}.prompt_mlpnorm.norm.*"),
        *_attention(f"{ours}.cross_attn_image_to_token", f"{theirs}.image_crossattn.attn"),
        same(f"{ours}.norm4.*", f"{theirs}.image_crossattn.norm.*"),
        *_attention(f"{meta}.transformer.final_attn_token_to_image", f"{end}.attn"),
        same(f"{meta}.transformer.norm_final_attn.*", f"{end}.norm.*"),
    ]


def _masks(meta: str, upscaler: tuple[str, str, str]) -> list[Rule]:
    ours, theirs = f"{meta}.output_upscaling", "mask_decoder.maskgen.img_patch_upscaler"
    return [
        same(f"{ours}.0.*", f"{theirs}.{upscaler[0]}.*"),
        *_plane(f"{ours}.1", f"{theirs}.{upscaler[1]}"),
        same(f"{ours}.3.*", f"{theirs}.{upscaler[2]}.*"),
        *_heads(f"{meta}.output_hypernetworks_mlps.{{k}}", "mask_decoder.maskgen.mask_token_mlps.{k}"),
        *_heads(f"{meta}.iou_prediction_head", "mask_decoder.iou_token_mlp"),
    ]


def _vit_blocks(trunk: ImageEncoderViTConfig) -> list[Rule]:
    """The last block of each quarter attends globally, the others inside windows."""
    rules = []
    quarter = trunk.depth // 4
    for number in range(trunk.depth):
        stage, place = divmod(number, quarter)
        inside = f"windowed_attn_blocks.{place}.global_attn" if place < quarter - 1 else "global_attn_block"
        ours, theirs = f"image_encoder.blocks.{number}", f"image_encoder.stages.{stage}.{inside}"
        norm1, qkv, proj, *rest = _block(ours, theirs, ("lin1", "lin2"))
        tables = [
            same(f"{ours}.attn.rel_pos_{axis}", f"{theirs}.attn.relpos.relpos_{axis}_1d")
            for axis in ("h", "w")
        ]
        rules += [norm1, qkv, proj, *tables, *rest]
    return rules


def _hiera_blocks(trunk: HieraConfig) -> list[Rule]:
    rules = []
    places = [(stage, place) for stage, depth in enumerate(trunk.stages) for place in range(depth)]
    for number, (stage, place) in enumerate(places):
        ours, theirs = f"image_encoder.trunk.blocks.{number}", f"image_encoder.hiera.stages.{stage}.{place}"
        if stage > 0 and place == 0:
            rules.append(same(f"{ours}.proj.*", f"{theirs}.proj.*"))
        rules += _block(ours, theirs, ("layers.0", "layers.1"))
    return rules


def _bytes(arguments: dict[str, Any]) -> bytes:
    return json.dumps(arguments, separators=(",", ":")).encode("utf-8")


def _sam_config(trunk: ImageEncoderViTConfig, grid: tuple[int, int]) -> bytes:
    """The arguments of muggled_sam's builder, as its library writes and expects them byte for byte."""
    return _bytes(
        {
            "features_per_image_token": trunk.embed_dim,
            "num_encoder_blocks": trunk.depth,
            "num_encoder_heads": trunk.num_heads,
            "num_encoder_stages": len(trunk.global_attn_indexes),
            "base_patch_grid_hw": list(grid),
            "base_window_size": trunk.window_size,
            "patch_size_px": trunk.patch_size,
            "features_per_prompt_token": 256,
            "features_per_decoder_token": 128,
            "num_decoder_blocks": 2,
            "num_decoder_heads": 8,
            "num_output_mask_tokens": 4,
        }
    )


def _sam2_config(trunk: HieraConfig, *, is_21: bool) -> bytes:
    """The same for SAM 2; it takes the distance between the global blocks of the third stage, not their places."""
    first, second, *_ = trunk.global_att_blocks
    return _bytes(
        {
            "features_per_image_token": trunk.embed_dim,
            "features_per_prompt_token": 256,
            "features_per_decoder_token": 128,
            "features_per_memory_token": 64,
            "patch_size_px": 7,
            "imgencoder_heads": trunk.num_heads,
            "imgencoder_blocks_per_stage": list(trunk.stages),
            "imgencoder_global_attn_spacing_per_stage": [None, None, second - first, None],
            "imgencoder_window_size_per_stage": list(trunk.window_spec),
            "imgencoder_window_tile_posenc_hw": [8, 8],
            "base_patch_grid_hw": list(trunk.window_pos_embed_bkg_spatial_size),
            "num_decoder_blocks": 2,
            "num_decoder_heads": 8,
            "num_output_mask_tokens": 4,
            "num_memory_downsample_layers": 4,
            "num_memory_encoder_mixer_layers": 2,
            "num_memory_fusion_layers": 4,
            "num_memory_fusion_heads": 1,
            "is_version_2p1": is_21,
        }
    )


def sam_table(trunk: ImageEncoderViTConfig, grid: tuple[int, int]) -> Table:
    """Meta's SAM and muggled_sam's `SAMV1Core`, built for a number of patches along the image's sides.

    Upstream: heyoeyo/muggled_sam (the names of its state dict)
    """
    config = _sam_config(trunk, grid)
    neck, projection = "image_encoder.neck", "image_encoder.channel_projection"
    rules = [
        only_other(
            "config_muggled_samv1",
            _CONFIG,
            Create("bytes", TensorInfo((len(config),), "U8"), config),
            "image_encoder.pos_embed",
        ),
        same("image_encoder.patch_embed.proj.*", "image_encoder.patch_embed.proj.*"),
        reshaped("image_encoder.pos_embed", "1 h w c", "image_encoder.posenc.base_embedding_bchw", "1 c h w"),
        *_vit_blocks(trunk),
        same(f"{neck}.0.weight", f"{projection}.0.weight"),
        *_plane(f"{neck}.1", f"{projection}.1"),
        same(f"{neck}.2.weight", f"{projection}.2.weight"),
        *_plane(f"{neck}.3", f"{projection}.3"),
        *_prompts("prompt_encoder"),
        same("mask_decoder.mask_tokens.weight", "mask_decoder.cls_mask_tokens"),
        same("mask_decoder.iou_token.weight", "mask_decoder.cls_iou_token"),
        *_mask_hints("prompt_encoder"),
        *_two_way("mask_decoder", ("lin1", "lin2")),
        *_masks("mask_decoder", ("0", "1", "3")),
    ]
    return Table("muggled", rules)


def _projections() -> list[Rule]:
    theirs = "image_encoder.output_projection"
    convs = "image_encoder.neck.convs"
    return [
        same(f"{convs}.0.conv.*", f"{theirs}.halfres_proj.*"),
        same(f"{convs}.1.conv.*", f"{theirs}.lowres_x1_proj.*"),
        same(f"{convs}.2.conv.*", f"{theirs}.hires_x2_proj.0.*"),
        same("sam_mask_decoder.conv_s1.*", f"{theirs}.hires_x2_proj.1.*"),
        same(f"{convs}.3.conv.*", f"{theirs}.hires_x4_proj.0.*"),
        same("sam_mask_decoder.conv_s0.*", f"{theirs}.hires_x4_proj.1.*"),
    ]


def _pointers() -> list[Rule]:
    theirs = "mask_decoder.objptrgen"
    return [
        reshaped("no_obj_ptr", "1 c", f"{theirs}.no_ptr_embed", "1 1 c"),
        *_heads("sam_mask_decoder.pred_obj_score_head", f"{theirs}.score_mlp"),
        *_heads("obj_ptr_proj", f"{theirs}.pointer_mlp"),
        same("mask_downsample.*", "mask_decoder.mask_to_ptr_hint_downsampler.*"),
    ]


def _memory_encoder() -> list[Rule]:
    ours, theirs = "memory_encoder.mask_downsampler", "memory_encoder.mask_downsampler"
    rules = []
    for step in (0, 3, 6, 9):
        rules.append(same(f"{ours}.encoder.{step}.*", f"{theirs}.downsample.{step}.*"))
        rules += _plane(f"{ours}.encoder.{step + 1}", f"{theirs}.downsample.{step + 1}")
    block, mixer = "memory_encoder.fuser.layers.{i}", "memory_encoder.channel_mixer.{i}"
    rules += [
        same(f"{ours}.encoder.12.*", f"{theirs}.out_proj.*"),
        same("memory_encoder.pix_feat_proj.*", "memory_encoder.image_proj.*"),
        reshaped(f"{block}.gamma", "c", f"{mixer}.per_channel_scale", "1 c 1 1"),
        same(f"{block}.dwconv.*", f"{mixer}.per_channel_conv.*"),
        *_plane(f"{block}.norm", f"{mixer}.norm"),
    ]
    for name, place in (("pwconv1", 0), ("pwconv2", 2)):
        wide = f"{mixer}.inverted_bottleneck.{place}"
        rules.append(reshaped(f"{block}.{name}.weight", "o i", f"{wide}.weight", "o i 1 1"))
        rules.append(same(f"{block}.{name}.bias", f"{wide}.bias"))
    return [
        *rules,
        same("memory_encoder.out_proj.*", "memory_encoder.out_proj.*"),
        same("no_obj_embed_spatial", "memory_encoder.missing_obj_encoder.no_object_embed"),
    ]


def _memory_fusion() -> list[Rule]:
    fusion = "memory_image_fusion"
    ours, theirs = "memory_attention.layers.{i}", f"{fusion}.fusion_transformer.layers.{{i}}"
    return [
        reshaped("no_mem_embed", "1 1 c", f"{fusion}.no_mem_embed_bchw", "1 c 1 1"),
        same("maskmem_tpos_enc", f"{fusion}.memconcat.memposenc.base_memposenc_offsets"),
        same("obj_ptr_tpos_proj.*", f"{fusion}.memconcat.ptrposenc.pointer_pos_proj.*"),
        *_attention(f"{ours}.self_attn", f"{theirs}.image_selfattn.attn"),
        same(f"{ours}.norm1.*", f"{theirs}.image_selfattn.norm.*"),
        *_attention(f"{ours}.cross_attn_image", f"{theirs}.image_crossattn.attn"),
        same(f"{ours}.norm2.*", f"{theirs}.image_crossattn.norm.*"),
        same(f"{ours}.norm3.*", f"{theirs}.image_mlp.mlp.0.*"),
        same(f"{ours}.linear1.*", f"{theirs}.image_mlp.mlp.1.*"),
        same(f"{ours}.linear2.*", f"{theirs}.image_mlp.mlp.3.*"),
        same("memory_attention.norm.*", f"{fusion}.fusion_transformer.out_norm.*"),
    ]


def sam2_table(trunk: HieraConfig, *, is_21: bool) -> Table:
    """Meta's SAM 2 and 2.1, and muggled_sam's `SAMV2Core`.

    Upstream: heyoeyo/muggled_sam (the names of its state dict)
    """
    config = _sam2_config(trunk, is_21=is_21)
    created = Create("bytes", TensorInfo((len(config),), "U8"), config)
    ours, posenc = "image_encoder.trunk", "image_encoder.posenc"
    no_mem = Create("zeros", TensorInfo((1, 1, 256)))
    rules = [
        only_other("config_muggled_samv2", _CONFIG, created, f"{ours}.pos_embed"),
        same(f"{ours}.patch_embed.proj.*", "image_encoder.patch_embed.proj.*"),
        same(f"{ours}.pos_embed", f"{posenc}.base_embedding"),
        same(f"{ours}.pos_embed_window", f"{posenc}.base_window_tile"),
        *_hiera_blocks(trunk),
        *_projections(),
        *_prompts("sam_prompt_encoder"),
        same("sam_mask_decoder.obj_score_token.weight", "mask_decoder.cls_obj_token"),
        same("sam_mask_decoder.mask_tokens.weight", "mask_decoder.cls_mask_tokens"),
        same("sam_mask_decoder.iou_token.weight", "mask_decoder.cls_iou_token"),
        *_mask_hints("sam_prompt_encoder"),
        *_two_way("sam_mask_decoder", ("layers.0", "layers.1")),
        *_masks("sam_mask_decoder", ("upscale_1", "norm", "upscale_2")),
        *_pointers(),
        *_memory_encoder(),
        *_memory_fusion(),
        only_meta("no_mem_pos_enc", _NO_MEM_POS, no_mem, "memory_image_fusion.no_mem_embed_bchw"),
    ]
    return Table("muggled", rules)
