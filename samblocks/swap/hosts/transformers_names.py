"""What transformers calls the tensors of each of its modules, from the layout tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from samblocks.errors import SwapError
from samblocks.layouts.rules import Table
from samblocks.layouts.table_transformers import sam2_video_table, sam_table
from samblocks.swap.adopt import HostName
from samblocks.swap.catalog import catalogued_base

Place = tuple[Callable[[], Table], str, str]
"""A table, and where in Meta's layout and in transformers' a module of a class stands (any one of its places)."""

_SAM_DECODER = "mask_decoder.transformer"
_SAM2_DECODER = ("sam_mask_decoder.transformer", "mask_decoder.transformer")


def _sam(meta: str, other: str = "") -> Place:
    return sam_table, meta, other or meta


def _sam2(meta: str, other: str) -> Place:
    return sam2_video_table, meta, other


_SAM_PLACES = {
    "VisionEncoder": _sam("image_encoder", "vision_encoder"),
    "PatchEmbeddings": _sam("image_encoder.patch_embed", "vision_encoder.patch_embed"),
    "VisionLayer": _sam("image_encoder.blocks.0", "vision_encoder.layers.0"),
    "VisionAttention": _sam("image_encoder.blocks.0.attn", "vision_encoder.layers.0.attn"),
    "VisionSdpaAttention": _sam("image_encoder.blocks.0.attn", "vision_encoder.layers.0.attn"),
    "MLPBlock": _sam("image_encoder.blocks.0.mlp", "vision_encoder.layers.0.mlp"),
    "LayerNorm": _sam("image_encoder.neck.1", "vision_encoder.neck.layer_norm1"),
    "PositionalEmbedding": _sam("prompt_encoder.pe_layer", "prompt_encoder.shared_embedding"),
    "PromptEncoder": _sam("prompt_encoder"),
    "MaskDecoder": _sam("mask_decoder"),
    "TwoWayTransformer": _sam(_SAM_DECODER),
    "TwoWayAttentionBlock": _sam(f"{_SAM_DECODER}.layers.0"),
    "Attention": _sam(f"{_SAM_DECODER}.layers.0.self_attn"),
    "FeedForward": _sam("mask_decoder.iou_prediction_head"),
}

_SAM2_PLACES = {
    "VisionModel": _sam2("image_encoder", "vision_encoder"),
    "HieraDetModel": _sam2("image_encoder.trunk", "vision_encoder.backbone"),
    "VisionNeck": _sam2("image_encoder.neck", "vision_encoder.neck"),
    "PatchEmbeddings": _sam2("image_encoder.trunk.patch_embed", "vision_encoder.backbone.patch_embed"),
    "MultiScaleBlock": _sam2("image_encoder.trunk.blocks.0", "vision_encoder.backbone.blocks.0"),
    "MultiScaleAttention": _sam2(
        "image_encoder.trunk.blocks.0.attn", "vision_encoder.backbone.blocks.0.attn"
    ),
    "LayerNorm": _sam2(
        "memory_encoder.fuser.layers.0.norm", "memory_encoder.memory_fuser.layers.0.layer_norm"
    ),
    "PositionalEmbedding": _sam2("sam_prompt_encoder.pe_layer", "prompt_encoder.shared_embedding"),
    "PromptEncoder": _sam2("sam_prompt_encoder", "prompt_encoder"),
    "MaskDecoder": _sam2("sam_mask_decoder", "mask_decoder"),
    "TwoWayTransformer": _sam2(*_SAM2_DECODER),
    "TwoWayAttentionBlock": _sam2(*(f"{place}.layers.0" for place in _SAM2_DECODER)),
    "Attention": _sam2(*(f"{place}.layers.0.self_attn" for place in _SAM2_DECODER)),
    "MemoryAttention": _sam2("memory_attention", "memory_attention"),
    "MemoryAttentionLayer": _sam2("memory_attention.layers.0", "memory_attention.layers.0"),
    "RoPEAttention": _sam2("memory_attention.layers.0.self_attn", "memory_attention.layers.0.self_attn"),
    "MemoryEncoder": _sam2("memory_encoder", "memory_encoder"),
    "MaskDownSampler": _sam2("memory_encoder.mask_downsampler", "memory_encoder.mask_downsampler"),
    "MemoryFuser": _sam2("memory_encoder.fuser", "memory_encoder.memory_fuser"),
    "MemoryFuserCXBlock": _sam2("memory_encoder.fuser.layers.0", "memory_encoder.memory_fuser.layers.0"),
}
_TAKEN_OVER = ("positional_embedding", "shared_embedding.", "point_embed.", "position_ids", "rotary_emb.")
"""What ours holds as transformers does: the random directions, which it ties by name; SAM 2's table of points; what
computes the rotations of rotary attention."""

_FEED_FORWARD = {
    2: _sam2(*(f"{place}.layers.0.mlp" for place in _SAM2_DECODER)),
    3: _sam2("sam_mask_decoder.iou_prediction_head", "mask_decoder.iou_prediction_head"),
}


def names_of(host: nn.Module) -> HostName | None:
    """How transformers names the tensors of one of its modules; None for modules of other libraries."""
    base = catalogued_base(host)
    if base is None or not base.__module__.startswith("transformers."):
        return None
    place = _place(base.__name__, host)

    def name(ours: str) -> str:
        if ours.startswith(_TAKEN_OVER):
            return ours
        if place is None:
            raise SwapError(f"the layout tables have no module like {base.__name__}")
        table, meta, other = place
        found = [key for key in table().to_other(f"{meta}.{ours}") if key.startswith(f"{other}.")]
        if len(found) != 1:
            raise SwapError(f"transformers has no tensor for {ours} in a {base.__name__}")
        return found[0].removeprefix(f"{other}.")

    return name


def _place(name: str, host: Any) -> Place | None:
    if not name.startswith("Sam2"):
        return _SAM_PLACES.get(name.removeprefix("Sam"))
    kind = name.removeprefix("Sam2Video").removeprefix("Sam2")
    return _FEED_FORWARD.get(host.num_layers) if kind == "FeedForward" else _SAM2_PLACES.get(kind)
