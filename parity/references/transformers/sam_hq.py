"""transformers' HQ-SAM by the reference page's names: its mask decoder, and the whole model."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from parity.execution.case import NoCounterpart
from parity.references.common.adapter import Adapter, Arguments
from parity.references.common.prefixes import Part, part
from parity.references.transformers import names, released, sam1, whole_sam1

Kwargs = Mapping[str, Any]


def _enlarging(theirs: str, ours: str) -> tuple[Part, ...]:
    steps = (("conv1", 0), ("norm", 1), ("conv2", 3))
    return tuple(part(f"{theirs}_{step}", f"{ours}.{number}") for step, number in steps)


def decoder_parts(head_depth: int) -> tuple[Part, ...]:
    """How the decoder spells its tensors, with a head of so many layers for predicted IoU."""
    return (
        *names.mask_decoder("out_proj", names.LINEARS, head_depth),
        part("hq_token", "hf_token"),
        part("hq_mask_mlp", "hf_mlp", names.perceptron(3)),
        *_enlarging("compress_vit", "compress_vit_feat"),
        *_enlarging("encoder", "embedding_encoder"),
        *_enlarging("mask", "embedding_maskfeature"),
    )


def decode(
    inner: nn.Module,
    *,
    multimask_output: bool,
    hq_token_only: bool,
    interm_embeddings: Sequence[Tensor],
    **inputs: Tensor,
) -> Any:
    """The reference page's call on the decoder."""
    prompts = inputs["sparse_prompt_embeddings"].shape[0]
    masks, ious = inner(
        image_embeddings=inputs["image_embeddings"].expand(prompts, -1, -1, -1),
        image_positional_embeddings=inputs["image_pe"].expand(prompts, -1, -1, -1),
        sparse_prompt_embeddings=inputs["sparse_prompt_embeddings"].unsqueeze(1),
        dense_prompt_embeddings=inputs["dense_prompt_embeddings"],
        multimask_output=multimask_output,
        hq_token_only=hq_token_only,
        intermediate_embeddings=[one.expand(prompts, -1, -1, -1) for one in interm_embeddings],
    )[:2]
    return masks.squeeze(1), ious.squeeze(1)


def mask_decoder(kwargs: Kwargs) -> nn.Module:
    """See `samblocks.models.MaskDecoderHQ`."""
    from transformers import SamHQMaskDecoderConfig
    from transformers.models.sam_hq.modeling_sam_hq import SamHQMaskDecoder

    given = Arguments(kwargs)
    dim = given.take("vit_dim", 1024)
    plain = sam1.decoder_config({name: value for name, value in kwargs.items() if name != "vit_dim"})
    config = SamHQMaskDecoderConfig(**{**plain.to_dict(), "vit_dim": dim})
    config._attn_implementation = "sdpa"
    return Adapter(SamHQMaskDecoder(config), decoder_parts(config.iou_head_depth), decode, kwargs)


def encode_image(inner: Any, x: Tensor) -> Any:
    """The encoder's features, and the maps that its global blocks gave."""
    seen = inner(x)
    return seen.last_hidden_state, list(seen.intermediate_embeddings)


def released_hq(variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
    """A released HQ-SAM for images of another size."""
    from transformers import SamHQModel

    if variant.endswith("tiny"):
        raise NoCounterpart(f"transformers has no {variant}")
    if options:
        raise NoCounterpart(f"its SamHQModel has no options, this case sets {', '.join(options)}")
    config = released.sam_hq_config(variant, image_size)
    inner = SamHQModel(config)
    decoder = decoder_parts(config.mask_decoder_config.iou_head_depth)
    views = {
        "image_encoder": Adapter(inner.vision_encoder, names.VIT, encode_image),
        "prompt_encoder": Adapter(
            inner.prompt_encoder,
            names.PROMPT_ENCODER,
            whole_sam1.encode_prompts,
            get_dense_pe=lambda _: whole_sam1.position_encoding_of_grid(inner),
        ),
        "mask_decoder": Adapter(inner.mask_decoder, decoder, decode),
    }
    plain = whole_sam1.parts(config.mask_decoder_config.iou_head_depth)
    return whole_sam1.Whole(inner, (*plain[:-1], part("mask_decoder", inner=decoder)), views)


BUILDERS = {"MaskDecoderHQ": mask_decoder}
"""The blocks → the functions that make transformers'."""
