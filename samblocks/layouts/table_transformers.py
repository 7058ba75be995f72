"""Meta's layout and transformers': SamModel, Sam2VideoModel, and Sam2Model, which is its image half.

The rules stand in the order of transformers' state dicts, so that keys can be put into that order too.
"""

from __future__ import annotations

from functools import lru_cache

from samblocks.layouts.rules import Rule, Table, duplicated, packed, same

_GAUSSIAN = "pe_layer.positional_encoding_gaussian_matrix"
_SHARED_FIRST = "shared_image_embedding"
_SHARED = f"{_SHARED_FIRST}.positional_embedding"
SHARED_AGAIN = "prompt_encoder.shared_embedding.positional_embedding"


def _attention(meta: str, other: str, out: str) -> list[Rule]:
    names = (("q_proj", "q_proj"), ("k_proj", "k_proj"), ("v_proj", "v_proj"), ("out_proj", out))
    return [same(f"{meta}.{ours}.*", f"{other}.{theirs}.*") for ours, theirs in names]


def _head(meta: str, other: str) -> list[Rule]:
    """A three-layer perceptron: transformers counts only the layers between the first and the last."""
    names = ((0, "proj_in"), (2, "proj_out"), (1, "layers.0"))
    return [same(f"{meta}.layers.{ours}.*", f"{other}.{theirs}.*") for ours, theirs in names]


def _prompt_encoder(meta: str, points: list[Rule]) -> list[Rule]:
    other = "prompt_encoder"
    masks = ((0, "conv1"), (3, "conv2"), (6, "conv3"), (1, "layer_norm1"), (4, "layer_norm2"))
    return [
        *(
            same(f"{meta}.mask_downscaling.{ours}.*", f"{other}.mask_embed.{theirs}.*")
            for ours, theirs in masks
        ),
        same(f"{meta}.no_mask_embed.weight", f"{other}.no_mask_embed.weight"),
        *points,
        same(f"{meta}.not_a_point_embed.weight", f"{other}.not_a_point_embed.weight"),
    ]


def _mask_decoder(meta: str, out: str, mlp: tuple[tuple[str, str], tuple[str, str]]) -> list[Rule]:
    other = "mask_decoder"
    ours, theirs = f"{meta}.transformer", f"{other}.transformer"
    layer, their_layer = f"{ours}.layers.{{i}}", f"{theirs}.layers.{{i}}"
    return [
        same(f"{meta}.iou_token.weight", f"{other}.iou_token.weight"),
        same(f"{meta}.mask_tokens.weight", f"{other}.mask_tokens.weight"),
        *_attention(f"{layer}.self_attn", f"{their_layer}.self_attn", out),
        same(f"{layer}.norm1.*", f"{their_layer}.layer_norm1.*"),
        *_attention(f"{layer}.cross_attn_token_to_image", f"{their_layer}.cross_attn_token_to_image", out),
        same(f"{layer}.norm2.*", f"{their_layer}.layer_norm2.*"),
        *(same(f"{layer}.mlp.{first}.*", f"{their_layer}.mlp.{second}.*") for first, second in mlp),
        same(f"{layer}.norm3.*", f"{their_layer}.layer_norm3.*"),
        same(f"{layer}.norm4.*", f"{their_layer}.layer_norm4.*"),
        *_attention(f"{layer}.cross_attn_image_to_token", f"{their_layer}.cross_attn_image_to_token", out),
        *_attention(f"{ours}.final_attn_token_to_image", f"{theirs}.final_attn_token_to_image", out),
        same(f"{ours}.norm_final_attn.*", f"{theirs}.layer_norm_final_attn.*"),
        same(f"{meta}.output_upscaling.0.*", f"{other}.upscale_conv1.*"),
        same(f"{meta}.output_upscaling.3.*", f"{other}.upscale_conv2.*"),
        same(f"{meta}.output_upscaling.1.*", f"{other}.upscale_layer_norm.*"),
        *_head(f"{meta}.output_hypernetworks_mlps.{{i}}", f"{other}.output_hypernetworks_mlps.{{i}}"),
        *_head(f"{meta}.iou_prediction_head", f"{other}.iou_prediction_head"),
    ]


def _sam_image_encoder() -> list[Rule]:
    meta, other = "image_encoder", "vision_encoder"
    block, layer = f"{meta}.blocks.{{i}}", f"{other}.layers.{{i}}"
    neck = ((0, "conv1", "weight"), (1, "layer_norm1", "*"), (2, "conv2", "weight"), (3, "layer_norm2", "*"))
    return [
        same(f"{meta}.pos_embed", f"{other}.pos_embed"),
        same(f"{meta}.patch_embed.proj.*", f"{other}.patch_embed.projection.*"),
        same(f"{block}.norm1.*", f"{layer}.layer_norm1.*"),
        same(f"{block}.attn.rel_pos_h", f"{layer}.attn.rel_pos_h"),
        same(f"{block}.attn.rel_pos_w", f"{layer}.attn.rel_pos_w"),
        same(f"{block}.attn.qkv.*", f"{layer}.attn.qkv.*"),
        same(f"{block}.attn.proj.*", f"{layer}.attn.proj.*"),
        same(f"{block}.norm2.*", f"{layer}.layer_norm2.*"),
        same(f"{block}.mlp.lin1.*", f"{layer}.mlp.lin1.*"),
        same(f"{block}.mlp.lin2.*", f"{layer}.mlp.lin2.*"),
        *(same(f"{meta}.neck.{ours}.{leaf}", f"{other}.neck.{theirs}.{leaf}") for ours, theirs, leaf in neck),
    ]


def _sam2_image_encoder() -> list[Rule]:
    meta, other = "image_encoder.trunk", "vision_encoder.backbone"
    block, layer = f"{meta}.blocks.{{i}}", f"{other}.blocks.{{i}}"
    return [
        same(f"{meta}.pos_embed", f"{other}.pos_embed"),
        same(f"{meta}.pos_embed_window", f"{other}.pos_embed_window"),
        same(f"{meta}.patch_embed.proj.*", f"{other}.patch_embed.projection.*"),
        same(f"{block}.norm1.*", f"{layer}.layer_norm1.*"),
        same(f"{block}.attn.qkv.*", f"{layer}.attn.qkv.*"),
        same(f"{block}.attn.proj.*", f"{layer}.attn.proj.*"),
        same(f"{block}.norm2.*", f"{layer}.layer_norm2.*"),
        same(f"{block}.mlp.layers.0.*", f"{layer}.mlp.proj_in.*"),
        same(f"{block}.mlp.layers.1.*", f"{layer}.mlp.proj_out.*"),
        same(f"{block}.proj.*", f"{layer}.proj.*"),
        same("image_encoder.neck.convs.{i}.conv.*", "vision_encoder.neck.convs.{i}.*"),
    ]


def _memory_attention() -> list[Rule]:
    layer = "memory_attention.layers.{i}"
    return [
        *_attention(f"{layer}.self_attn", f"{layer}.self_attn", "o_proj"),
        *_attention(f"{layer}.cross_attn_image", f"{layer}.cross_attn_image", "o_proj"),
        same(f"{layer}.linear1.*", f"{layer}.linear1.*"),
        same(f"{layer}.linear2.*", f"{layer}.linear2.*"),
        *(same(f"{layer}.norm{norm}.*", f"{layer}.layer_norm{norm}.*") for norm in (1, 2, 3)),
        same("memory_attention.norm.*", "memory_attention.layer_norm.*"),
    ]


def _memory_encoder() -> list[Rule]:
    masks = "memory_encoder.mask_downsampler"
    block, layer = "memory_encoder.fuser.layers.{i}", "memory_encoder.memory_fuser.layers.{i}"
    fuser = (("dwconv", "depthwise_conv"), ("norm", "layer_norm"), ("pwconv1", "pointwise_conv1"))
    steps = [
        same(f"{masks}.encoder.{3 * step + place}.*", f"{masks}.layers.{step}.{theirs}.*")
        for step in range(4)
        for place, theirs in enumerate(("conv", "layer_norm"))
    ]
    return [
        *steps,
        same(f"{masks}.encoder.12.*", f"{masks}.final_conv.*"),
        same("memory_encoder.pix_feat_proj.*", "memory_encoder.feature_projection.*"),
        same(f"{block}.gamma", f"{layer}.scale"),
        *(same(f"{block}.{ours}.*", f"{layer}.{theirs}.*") for ours, theirs in fuser),
        same(f"{block}.pwconv2.*", f"{layer}.pointwise_conv2.*"),
        same("memory_encoder.out_proj.*", "memory_encoder.projection.*"),
    ]


def _sam2_image_half() -> list[Rule]:
    meta = "sam_prompt_encoder"
    points = [f"{meta}.point_embeddings.{label}.weight" for label in range(4)]
    score = "sam_mask_decoder.pred_obj_score_head"
    return [
        duplicated(f"{meta}.{_GAUSSIAN}", (_SHARED, SHARED_AGAIN)),
        *_sam2_image_encoder(),
        *_prompt_encoder(meta, [packed(points, "prompt_encoder.point_embed.weight")]),
        *_mask_decoder("sam_mask_decoder", "o_proj", (("layers.0", "proj_in"), ("layers.1", "proj_out"))),
        same("sam_mask_decoder.conv_s0.*", "mask_decoder.conv_s0.*"),
        same("sam_mask_decoder.conv_s1.*", "mask_decoder.conv_s1.*"),
        same("sam_mask_decoder.obj_score_token.weight", "mask_decoder.obj_score_token.weight"),
        *_head(score, "mask_decoder.pred_obj_score_head"),
    ]


def _sam2_own() -> list[Rule]:
    return [same("no_mem_embed", "no_memory_embedding")]


def _sam2_memory_own() -> list[Rule]:
    return [
        same("no_mem_pos_enc", "no_memory_positional_encoding"),
        same("maskmem_tpos_enc", "memory_temporal_positional_encoding"),
        same("no_obj_ptr", "no_object_pointer"),
        same("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
    ]


def _sam2_memory() -> list[Rule]:
    return [
        *_memory_attention(),
        *_memory_encoder(),
        same("mask_downsample.*", "mask_downsample.*"),
        *_head("obj_ptr_proj", "object_pointer_proj"),
        same("obj_ptr_tpos_proj.*", "temporal_positional_encoding_projection_layer.*"),
    ]


@lru_cache(maxsize=1)
def sam_table() -> Table:
    """Meta's SAM and `SamModel`.

    Upstream: huggingface/transformers SamModel (the names of its state dict)
    """
    points = [
        same(f"prompt_encoder.point_embeddings.{i}.weight", f"prompt_encoder.point_embed.{i}.weight")
        for i in range(4)
    ]
    mlp = (("lin1", "lin1"), ("lin2", "lin2"))
    rules = [
        duplicated(f"prompt_encoder.{_GAUSSIAN}", (_SHARED, SHARED_AGAIN)),
        *_sam_image_encoder(),
        *_prompt_encoder("prompt_encoder", points),
        *_mask_decoder("mask_decoder", "out_proj", mlp),
    ]
    return Table("transformers (SamModel)", rules, (_SHARED_FIRST, "vision_encoder"))


def _hq_mask_decoder() -> list[Rule]:
    """What HQ-SAM's decoder has beyond SAM's."""
    ours, theirs = "mask_decoder", "mask_decoder"
    names = (
        ("compress_vit_feat", "compress_vit"),
        ("embedding_encoder", "encoder"),
        ("embedding_maskfeature", "mask"),
    )
    steps = ((0, "conv1"), (1, "norm"), (3, "conv2"))
    return [
        same(f"{ours}.hf_token.weight", f"{theirs}.hq_token.weight"),
        *_head(f"{ours}.hf_mlp", f"{theirs}.hq_mask_mlp"),
        *(
            same(f"{ours}.{name}.{number}.*", f"{theirs}.{other}_{step}.*")
            for name, other in names
            for number, step in steps
        ),
    ]


@lru_cache(maxsize=1)
def sam_hq_table() -> Table:
    """HQ-SAM in its authors' names, which are Meta's and more, and `SamHQModel`.

    Upstream: huggingface/transformers SamHQModel (the names of its state dict)
    """
    rules = [*sam_table().rules, *_hq_mask_decoder()]
    return Table("transformers (SamHQModel)", rules, (_SHARED_FIRST, "vision_encoder"))


@lru_cache(maxsize=1)
def sam2_video_table() -> Table:
    """Meta's SAM 2 and 2.1, and `Sam2VideoModel`.

    Upstream: huggingface/transformers Sam2VideoModel (the names of its state dict)
    """
    rules = [*_sam2_own(), *_sam2_memory_own(), *_sam2_image_half(), *_sam2_memory()]
    first = [rule.other[0] for rule in (*_sam2_own(), *_sam2_memory_own())]
    return Table("transformers (Sam2VideoModel)", rules, (*first, _SHARED_FIRST, "vision_encoder"))


@lru_cache(maxsize=1)
def sam2_image_table() -> Table:
    """Meta's SAM 2 and 2.1, and `Sam2Model`, which has no memory.

    Upstream: huggingface/transformers Sam2Model (the names of its state dict)
    """
    memory = (*_sam2_memory_own(), *_sam2_memory())
    dropped = [rule.without_other("Sam2Model has no memory") for rule in memory]
    rules, first = [*_sam2_own(), *_sam2_image_half(), *dropped], [rule.other[0] for rule in _sam2_own()]
    return Table("transformers (Sam2Model)", rules, (*first, _SHARED_FIRST, "vision_encoder"))


TABLES = {
    "SamModel": sam_table,
    "SamHQModel": sam_hq_table,
    "Sam2VideoModel": sam2_video_table,
    "Sam2Model": sam2_image_table,
}
"""The table of each model class."""
