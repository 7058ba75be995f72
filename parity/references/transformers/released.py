"""transformers' SamModel, Sam2Model and Sam2VideoModel, through from_pretrained and save_pretrained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Request = Mapping[str, Any]
Made = tuple[nn.Module, Callable[[nn.Module, Mapping[str, Tensor]], dict[str, Tensor]], list[str]]

_VIT = {"sam_vit_b": (768, 12, (2, 5, 8, 11)), "sam_vit_l": (1024, 24, (5, 11, 17, 23))}
_VIT["sam_vit_h"] = (1280, 32, (7, 15, 23, 31))
_VIT |= {"slimsam_50": (384, 12, (2, 5, 8, 11)), "slimsam_77": (168, 12, (2, 5, 8, 11))}
SAM_VARIANTS = frozenset(_VIT)
"""The variants that a SamModel holds."""

# Width, blocks of each stage, heads of the first, blocks with global attention, side of the coarse table, windows.
_HIERA: dict[str, tuple[int, tuple[int, ...], int, tuple[int, ...], int, tuple[int, ...]]] = {
    "tiny": (96, (1, 2, 7, 2), 1, (5, 7, 9), 7, (8, 4, 14, 7)),
    "small": (96, (1, 2, 11, 2), 1, (7, 10, 13), 7, (8, 4, 14, 7)),
    "base_plus": (112, (2, 3, 16, 3), 2, (12, 16, 20), 14, (8, 4, 14, 7)),
    "large": (144, (2, 6, 36, 4), 2, (23, 33, 43), 7, (8, 4, 16, 8)),
}


def make(request: Request) -> Made:
    """Make the model from a configuration; load our file with `from_pretrained`, which must miss nothing."""
    import transformers

    transformers.logging.set_verbosity_error()
    name = request["model_class"]
    run = {"SamModel": _sam, "SamHQModel": _sam_hq, "Sam2Model": _sam2, "Sam2VideoModel": _sam2_video}[name]
    sam1 = {"SamModel": sam_config, "SamHQModel": sam_hq_config}
    config = sam1[name](request["variant"]) if name in sam1 else sam2_config(request["variant"], name)
    kind = getattr(transformers, name)
    if request["save"]:
        return kind(config), run, []
    folder = Path(request["file"]).parent
    config.save_pretrained(folder)
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    problems = {key: value for key, value in info.items() if value}
    if problems:
        raise ValueError(f"from_pretrained reports {problems}")
    return model, run, []


def agree(model: Any) -> None:
    """Make the two copies of the matrix behind positions equal, as they are in every published file.

    In SAM 2's classes they are buffers of their own, so that filling them by name sets them apart.
    """
    with torch.no_grad():
        model.prompt_encoder.shared_embedding.positional_embedding.copy_(
            model.shared_image_embedding.positional_embedding
        )


def save(model: Any, file: Path) -> None:
    """Save as transformers does, and move the file to where it is wanted."""
    folder = file.parent / "saved"
    model.save_pretrained(folder)
    (folder / "model.safetensors").replace(file)


def sam_config(variant: str) -> Any:
    """The configuration of a released SAM 1."""
    from transformers import SamConfig

    width, depth, wide = _VIT[variant]
    vision = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": 12 if depth == 12 else 16,
        "mlp_dim": 696 if width == 168 else 4 * width,
        "global_attn_indexes": list(wide),
    }
    return SamConfig(vision_config=vision)


def sam_hq_config(variant: str, image_size: int = 1024) -> Any:
    """The configuration of a released HQ-SAM, for images of this side."""
    from transformers import SamHQConfig

    width, depth, wide = _VIT[variant.replace("_hq", "")]
    vision = {
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": 12 if depth == 12 else 16,
        "mlp_dim": 4 * width,
        "global_attn_indexes": list(wide),
        "image_size": image_size,
    }
    prompts = {"image_size": image_size, "image_embedding_size": image_size // 16}
    return SamHQConfig(
        vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config={"vit_dim": width}
    )


def sam2_config(variant: str, name: str) -> Any:
    """The configuration of a released SAM 2, as a `Sam2Model` or a `Sam2VideoModel`."""
    import transformers

    version, _, size = variant.partition("_hiera_")
    width, blocks, heads, wide, table, windows = _HIERA[size]
    widths = [width * factor for factor in (1, 2, 4, 8)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": heads,
        "blocks_per_stage": list(blocks),
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [heads * factor for factor in (1, 2, 4, 8)],
        "window_size_per_stage": list(windows),
        "global_attention_blocks": list(wide),
        "window_positional_embedding_background_size": [table, table],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": widths[::-1],
    }
    if name == "Sam2Model":
        return transformers.Sam2Config(vision_config=vision)
    later = version == "sam2.1"
    return transformers.Sam2VideoConfig(
        vision_config=vision,
        enable_occlusion_spatial_embedding=later,
        enable_temporal_pos_encoding_for_object_pointers=later,
    )


def _sam(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    seen = model(
        image_embeddings=given["embedding"],
        input_points=given["coords"][:, None],
        input_labels=given["labels"][:, None].long(),
        input_masks=given["prompt_mask"],
        multimask_output=True,
    )
    image = model.vision_encoder(given["image"]).last_hidden_state
    return {"image": image, "masks": seen.pred_masks[:, 0], "quality": seen.iou_scores[:, 0]}


def _sam_hq(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    seen = model.vision_encoder(given["image"])
    made = {"image": seen.last_hidden_state, "early": seen.intermediate_embeddings[0]}
    answer = model(
        image_embeddings=given["embedding"],
        intermediate_embeddings=[given["early"]],
        input_points=given["coords"][:, None],
        input_labels=given["labels"][:, None].long(),
        input_masks=given["prompt_mask"],
        multimask_output=True,
    )
    # Its masks are made from what the transformer did not change, so that they say nothing of the file; its scores,
    # best one first, do: HQ-SAM's own package gives that one alone.
    return {**made, "quality": answer.iou_scores[:, 0, :1]}


def _sam2(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    seen = model.vision_encoder(given["image"]).fpn_hidden_states
    levels = [model.mask_decoder.conv_s0(seen[0]), model.mask_decoder.conv_s1(seen[1]), seen[2]]
    sparse, dense = model.prompt_encoder(
        input_points=given["coords"][:, None],
        input_labels=given["labels"][:, None],
        input_boxes=None,
        input_masks=given["prompt_mask"],
    )
    masks, quality, _, presence = model.mask_decoder(
        image_embeddings=given["embedding"],
        image_positional_embeddings=model.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        high_resolution_features=[given["high_0"], given["high_1"]],
    )
    made = {f"level_{number}": level for number, level in enumerate(levels)}
    made |= {"dense": dense, "masks": masks[:, 0], "quality": quality[:, 0], "presence": presence[:, 0]}
    return made | {"no_mem_embed": model.no_memory_embedding.detach()}


def _sam2_video(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    made = _sam2(model, given)
    made["memory"] = model.memory_encoder(given["embedding"], given["mask"])[0]
    attended = model.memory_attention(
        given["current"],
        given["memory"],
        torch.zeros_like(given["current"]),
        given["memory_pos"],
        num_object_pointer_tokens=4,
    )
    made["attended"] = attended.reshape(given["current"].shape)
    made["pointer"] = model.object_pointer_proj(given["pointer"])
    made["mask_prompt"] = model.mask_downsample(given["mask"])
    if isinstance(model.temporal_positional_encoding_projection_layer, nn.Linear):
        made["time"] = model.temporal_positional_encoding_projection_layer(given["pointer"])
    free = {
        "maskmem_tpos_enc": "memory_temporal_positional_encoding",
        "no_mem_pos_enc": "no_memory_positional_encoding",
        "no_obj_ptr": "no_object_pointer",
        "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
    }
    held = {name: getattr(model, theirs, None) for name, theirs in free.items()}
    return made | {name: value.detach() for name, value in held.items() if value is not None}
