"""transformers' blocks of SAM 1 by the reference page's names and calls."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parity.execution.case import NoCounterpart
from parity.references.common.adapter import Adapter, Arguments, activation_name, norm_eps
from parity.references.common.prefixes import Part
from parity.references.transformers import names

Kwargs = Mapping[str, Any]


def _square(size: Any, what: str) -> int:
    """The side of a square given as (height, width)."""
    height, width = size
    if height != width:
        raise NoCounterpart(f"has square {what} only, this case has {height} x {width}")
    return int(height)


def _vision_config(**settings: Any) -> Any:
    from transformers import SamVisionConfig

    config = SamVisionConfig(**settings)
    config._attn_implementation = "sdpa"
    return config


def _one_side(size: int | tuple[int, int]) -> int:
    if not isinstance(size, int):
        raise NoCounterpart("takes square images only")
    return size


def vision_config(kwargs: Kwargs) -> Any:
    """The configuration of the image encoder that the reference page's ImageEncoderViT describes."""
    given = Arguments(kwargs)
    embed_dim, ratio = given.take("embed_dim", 768), given.take("mlp_ratio", 4.0)
    config = _vision_config(
        hidden_size=embed_dim,
        image_size=_one_side(given.take("img_size", 1024)),
        patch_size=given.take("patch_size", 16),
        num_channels=given.take("in_chans", 3),
        num_hidden_layers=given.take("depth", 12),
        num_attention_heads=given.take("num_heads", 12),
        mlp_ratio=ratio,
        mlp_dim=int(embed_dim * ratio),
        output_channels=given.take("out_chans", 256),
        qkv_bias=given.take("qkv_bias", True),
        layer_norm_eps=norm_eps(given.take("norm_layer", nn.LayerNorm)),
        hidden_act=activation_name(given.take("act_layer", nn.GELU)),
        use_abs_pos=given.take("use_abs_pos", True),
        use_rel_pos=given.take("use_rel_pos", False),
        window_size=given.take("window_size", 0),
        global_attn_indexes=list(given.take("global_attn_indexes", ())),
    )
    given.end()
    return config


def encode_image(inner: Any, x: Tensor) -> Tensor:
    """The reference page's call on an image encoder of transformers."""
    side = inner.config.image_size
    if tuple(x.shape[-2:]) != (side, side):
        raise NoCounterpart("takes images of the size that it was made for only")
    features: Tensor = inner(x).last_hidden_state
    return features


def image_encoder(kwargs: Kwargs) -> nn.Module:
    """See the reference page's ImageEncoderViT."""
    from transformers.models.sam.modeling_sam import SamVisionEncoder

    return Adapter(SamVisionEncoder(vision_config(kwargs)), names.VIT, encode_image, kwargs)


def prompt_config(given: Arguments) -> Any:
    """The configuration of the prompt encoder that the reference page's PromptEncoder describes."""
    from transformers import SamPromptEncoderConfig

    dim = given.take("embed_dim")
    grid = _square(given.take("image_embedding_size"), "maps")
    image = _square(given.take("input_image_size"), "images")
    config = SamPromptEncoderConfig(
        hidden_size=dim,
        image_size=image,
        patch_size=image // grid,
        image_embedding_size=grid,
        mask_input_channels=given.take("mask_in_chans"),
        hidden_act=activation_name(given.take("activation", nn.GELU)),
    )
    given.end()
    return config


def prompt_encoder(kwargs: Kwargs) -> nn.Module:
    """See the reference page's PromptEncoder, as in SAM 1."""
    from transformers import SamConfig
    from transformers.models.sam.modeling_sam import SamPromptEncoder

    given = Arguments(kwargs)
    given.only("embed_corner_labels", False)
    config = SamConfig()
    config.prompt_encoder_config = prompt_config(given)
    config.vision_config.num_pos_feats = config.prompt_encoder_config.hidden_size // 2
    config.vision_config.scale = 1
    inner = SamPromptEncoder(config)
    return Adapter(inner, names.PROMPT_ENCODER, encode_prompts, kwargs)


def encode_prompts(
    inner: Any,
    points: tuple[Tensor, Tensor] | None = None,
    boxes: Tensor | None = None,
    masks: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The reference page's call on a prompt encoder of transformers, whose tokens have one axis more."""
    if boxes is not None and boxes.ndim == 3:
        raise NoCounterpart("takes boxes as four numbers only")
    sparse, dense = inner(
        input_points=None if points is None else points[0].unsqueeze(1).to(_float_of(inner)),
        input_labels=None if points is None else points[1].unsqueeze(1),
        input_boxes=None if boxes is None else boxes.unsqueeze(1).to(_float_of(inner)),
        input_masks=masks,
    )
    if sparse is None:
        dim = dense.shape[1]
        sparse = torch.empty(dense.shape[0], 1, 0, dim, dtype=dense.dtype)
    return sparse.squeeze(1), dense


def _float_of(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype


def attention(kwargs: Kwargs) -> nn.Module:
    """See the reference page's Attention, as in SAM 1."""
    from transformers import SamMaskDecoderConfig
    from transformers.models.sam.modeling_sam import SamAttention

    given = Arguments(kwargs)
    given.only("kv_in_dim", None)
    given.only("dropout", 0.0)
    config = SamMaskDecoderConfig(
        hidden_size=given.take("embedding_dim"), num_attention_heads=given.take("num_heads")
    )
    config._attn_implementation = "sdpa"
    inner = SamAttention(config, downsample_rate=given.take("downsample_rate", 1))
    given.end()

    def call(inner: nn.Module, q: Tensor, k: Tensor, v: Tensor) -> Any:
        result = inner(q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1))
        return (result[0] if isinstance(result, tuple) else result).squeeze(1)

    return Adapter(inner, names.attention("out_proj"), call, kwargs)


def decoder_settings(given: Arguments, depth: int | None = None) -> dict[str, Any]:
    """What both generations' configurations say of two-way blocks."""
    return {
        "num_hidden_layers": 2 if depth is None else depth,
        "hidden_size": given.take("embedding_dim"),
        "num_attention_heads": given.take("num_heads"),
        "mlp_dim": given.take("mlp_dim", 2048),
        "hidden_act": activation_name(given.take("activation", nn.ReLU)),
        "attention_downsample_rate": given.take("attention_downsample_rate", 2),
    }


def _decoder_config(**settings: Any) -> Any:
    from transformers import SamMaskDecoderConfig

    config = SamMaskDecoderConfig(**settings)
    config._attn_implementation = "sdpa"
    return config


def two_way_block(kwargs: Kwargs) -> nn.Module:
    """See the reference page's TwoWayAttentionBlock."""
    from transformers.models.sam.modeling_sam import SamTwoWayAttentionBlock

    given = Arguments(kwargs)
    skip = given.take("skip_first_layer_pe", False)
    config = _decoder_config(**decoder_settings(given))
    given.end()
    inner = SamTwoWayAttentionBlock(
        config, attention_downsample_rate=config.attention_downsample_rate, skip_first_layer_pe=skip
    )
    return Adapter(inner, names.two_way_block("out_proj", names.LINEARS), two_way, kwargs)


def two_way(inner: nn.Module, queries: Tensor, keys: Tensor, query_pe: Tensor, key_pe: Tensor) -> Any:
    """The reference page's call on a two-way block of transformers, whose tokens have one axis more."""
    wide = [value.unsqueeze(1) for value in (queries, keys, query_pe, key_pe)]
    found = inner(*wide, attention_similarity=None)
    return tuple(value.squeeze(1) for value in found[:2])


def two_way_transformer(kwargs: Kwargs) -> nn.Module:
    """See the reference page's TwoWayTransformer."""
    from transformers.models.sam.modeling_sam import SamTwoWayTransformer

    given = Arguments(kwargs)
    config = _decoder_config(**decoder_settings(given, given.take("depth")))
    given.end()
    if config.attention_downsample_rate != 2 and config.num_hidden_layers:
        raise NoCounterpart("hands the rate of downsampling on to the last attention only, not to its layers")
    inner = SamTwoWayTransformer(config)
    parts = names.two_way_transformer("out_proj", names.LINEARS)
    return Adapter(inner, parts, transform, kwargs)


def transform(inner: nn.Module, image_embedding: Tensor, image_pe: Tensor, point_embedding: Tensor) -> Any:
    """The reference page's call on a two-way transformer of transformers."""
    found = inner(
        point_embeddings=point_embedding.unsqueeze(1),
        image_embeddings=image_embedding,
        image_positional_embeddings=image_pe,
        attention_similarity=None,
    )
    return tuple(value.squeeze(1) for value in found[:2])


def decoder_config(kwargs: Kwargs) -> Any:
    """The configuration of the decoder that the reference page's MaskDecoder describes."""
    given = Arguments(kwargs)
    given.only("activation", nn.GELU)
    inside = Arguments(given.take("transformer").kwargs)
    config = _decoder_config(
        num_multimask_outputs=given.take("num_multimask_outputs", 3),
        iou_head_depth=given.take("iou_head_depth", 3),
        iou_head_hidden_dim=given.take("iou_head_hidden_dim", 256),
        **decoder_settings(inside, inside.take("depth")),
    )
    given.take("transformer_dim")
    given.end()
    inside.end()
    return config


def decode(inner: nn.Module, *, multimask_output: bool, **inputs: Tensor) -> Any:
    """The reference page's call on a mask decoder of transformers, which does not repeat one image for all prompts."""
    prompts = inputs["sparse_prompt_embeddings"].shape[0]
    masks, ious = inner(
        image_embeddings=inputs["image_embeddings"].expand(prompts, -1, -1, -1),
        image_positional_embeddings=inputs["image_pe"].expand(prompts, -1, -1, -1),
        sparse_prompt_embeddings=inputs["sparse_prompt_embeddings"].unsqueeze(1),
        dense_prompt_embeddings=inputs["dense_prompt_embeddings"],
        multimask_output=multimask_output,
    )[:2]
    return masks.squeeze(1), ious.squeeze(1)


def decoder_parts(config: Any) -> tuple[Part, ...]:
    """How a decoder with this configuration spells its tensors."""
    return names.mask_decoder("out_proj", names.LINEARS, config.iou_head_depth)


def mask_decoder(kwargs: Kwargs) -> nn.Module:
    """See the reference page's MaskDecoder."""
    from transformers.models.sam.modeling_sam import SamMaskDecoder

    config = decoder_config(kwargs)
    return Adapter(SamMaskDecoder(config), decoder_parts(config), decode, kwargs)


BUILDERS = {
    "ImageEncoderViT": image_encoder,
    "Attention": attention,
    "TwoWayAttentionBlock": two_way_block,
    "TwoWayTransformer": two_way_transformer,
    "MaskDecoder": mask_decoder,
}
"""The reference page's blocks → the functions that make transformers'."""
