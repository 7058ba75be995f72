"""transformers' prompt encoder and mask decoder of SAM 2 by the reference page's names and calls."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from parity.execution.case import NoCounterpart
from parity.references.common.adapter import Adapter, Arguments, activation_name
from parity.references.transformers import names, sam1

Kwargs = Mapping[str, Any]


def prompt_encoder(kwargs: Kwargs) -> nn.Module:
    """See the reference page's PromptEncoder; of SAM 1 where corner labels have no embeddings."""
    from transformers import Sam2PromptEncoderConfig
    from transformers.models.sam2.modeling_sam2 import Sam2PromptEncoder

    given = Arguments(kwargs)
    if not given.take("embed_corner_labels", True):
        return sam1.prompt_encoder(kwargs)
    dim, (grid, columns) = given.take("embed_dim"), given.take("image_embedding_size")
    image, width = given.take("input_image_size")
    if grid != columns or image != width:
        raise NoCounterpart(f"has square maps only, this case has {grid} x {columns}")
    config = Sam2PromptEncoderConfig(
        hidden_size=dim,
        image_size=image,
        patch_size=image // grid,
        mask_input_channels=given.take("mask_in_chans"),
        hidden_act=activation_name(given.take("activation", nn.GELU)),
    )
    given.end()

    return Adapter(Sam2PromptEncoder(config), names.PROMPT_ENCODER, encode_prompts, kwargs, rows=label_rows())


def encode_prompts(
    inner: Any, points: Any = None, boxes: Tensor | None = None, masks: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The reference page's call on SAM 2's prompt encoder of transformers."""
    if points is None and boxes is None and masks is None:
        raise NoCounterpart("is never called without any prompt")
    return sam1.encode_prompts(inner, points, boxes, masks)


def label_rows(theirs: str = "", ours: str = "") -> dict[str, list[str]]:
    """The one table of labels, whose rows are tensors of their own in Meta's layout."""
    return {f"{theirs}point_embed.weight": [f"{ours}point_embeddings.{label}.weight" for label in range(4)]}


def _decoder_config(**settings: Any) -> Any:
    from transformers import Sam2MaskDecoderConfig

    config = Sam2MaskDecoderConfig(**settings)
    config._attn_implementation = "sdpa"
    return config


def _two_way_settings(given: Arguments, depth: int | None = None) -> dict[str, Any]:
    settings = sam1.decoder_settings(given, depth)
    if settings["hidden_act"] != "relu":
        raise NoCounterpart(
            "has ReLU in the perceptrons of its two-way blocks, whatever its configuration says"
        )
    return settings


def two_way_block(kwargs: Kwargs) -> nn.Module:
    """See the reference page's SAM2TwoWayAttentionBlock."""
    from transformers.models.sam2.modeling_sam2 import Sam2TwoWayAttentionBlock

    given = Arguments(kwargs)
    skip = given.take("skip_first_layer_pe", False)
    config = _decoder_config(**_two_way_settings(given))
    given.end()
    inner = Sam2TwoWayAttentionBlock(config, skip_first_layer_pe=skip)
    return Adapter(inner, names.two_way_block("o_proj", names.perceptron(2)), sam1.two_way, kwargs)


def two_way_transformer(kwargs: Kwargs) -> nn.Module:
    """See the reference page's SAM2TwoWayTransformer."""
    from transformers.models.sam2.modeling_sam2 import Sam2TwoWayTransformer

    given = Arguments(kwargs)
    depth = given.take("depth")
    if depth != 2:
        raise NoCounterpart("has as many layers in the transformer as in its blocks' perceptrons, two")
    config = _decoder_config(**_two_way_settings(given, depth))
    given.end()
    parts = names.two_way_transformer("o_proj", names.perceptron(2))
    return Adapter(Sam2TwoWayTransformer(config), parts, sam1.transform, kwargs)


def decode(
    inner: nn.Module,
    *,
    multimask_output: bool,
    repeat_image: bool,
    high_res_features: list[Tensor] | None,
    **inputs: Tensor,
) -> Any:
    """The reference page's call on SAM 2's mask decoder of transformers."""
    prompts = inputs["sparse_prompt_embeddings"].shape[0]
    if high_res_features is None:
        raise NoCounterpart("cannot do without the levels of high resolution")
    masks, ious, tokens, scores = inner(
        image_embeddings=inputs["image_embeddings"].expand(prompts, -1, -1, -1),
        image_positional_embeddings=inputs["image_pe"].expand(prompts, -1, -1, -1),
        sparse_prompt_embeddings=inputs["sparse_prompt_embeddings"].unsqueeze(1),
        dense_prompt_embeddings=inputs["dense_prompt_embeddings"],
        multimask_output=multimask_output,
        high_resolution_features=[level.expand(prompts, -1, -1, -1) for level in high_res_features],
    )
    return masks.squeeze(1), ious.squeeze(1), tokens.squeeze(1), scores.squeeze(1)


BUILDERS = {
    "PromptEncoder": prompt_encoder,
    "SAM2TwoWayAttentionBlock": two_way_block,
    "SAM2TwoWayTransformer": two_way_transformer,
}
"""The reference page's blocks → the functions that make transformers'."""
