"""How transformers spells the tensors of its SAM and SAM 2 blocks, part by part.

`samblocks.layouts` has these names too, and must not be asked: a reference is read without the code under test. This
is a second reading, written from upstream's modules; `tests/layouts/test_second_reading.py` holds the two together.
"""

from parity.references.common.prefixes import Part, alike, part

LINEARS = alike("lin1", "lin2")
RE_ATTENTION = alike("rel_pos_h", "rel_pos_w", "qkv", "proj")
VIT_BLOCK = (
    part("layer_norm1", "norm1"),
    part("attn", inner=RE_ATTENTION),
    part("layer_norm2", "norm2"),
    part("mlp", inner=LINEARS),
)
VIT = (
    part("pos_embed"),
    part("patch_embed.projection", "patch_embed.proj"),
    part("layers.{i}", "blocks.{i}", VIT_BLOCK),
    part("neck.conv1", "neck.0"),
    part("neck.layer_norm1", "neck.1"),
    part("neck.conv2", "neck.2"),
    part("neck.layer_norm2", "neck.3"),
)


def perceptron(layers: int) -> tuple[Part, ...]:
    """A perceptron: only the layers between the first and the last are counted."""
    inner = tuple(part(f"layers.{i}", f"layers.{i + 1}") for i in range(layers - 2))
    return (part("proj_in", "layers.0"), *inner, part("proj_out", f"layers.{layers - 1}"))


def attention(out: str) -> tuple[Part, ...]:
    """Attention, whose last linear has two names."""
    return (*alike("q_proj", "k_proj", "v_proj"), part(out, "out_proj"))


def two_way_block(out: str, mlp: tuple[Part, ...]) -> tuple[Part, ...]:
    """A two-way block, of either generation."""
    return (
        part("self_attn", inner=attention(out)),
        part("layer_norm1", "norm1"),
        part("cross_attn_token_to_image", inner=attention(out)),
        part("layer_norm2", "norm2"),
        part("mlp", inner=mlp),
        part("layer_norm3", "norm3"),
        part("layer_norm4", "norm4"),
        part("cross_attn_image_to_token", inner=attention(out)),
    )


def two_way_transformer(out: str, mlp: tuple[Part, ...]) -> tuple[Part, ...]:
    """A two-way transformer, of either generation."""
    return (
        part("layers.{i}", inner=two_way_block(out, mlp)),
        part("final_attn_token_to_image", inner=attention(out)),
        part("layer_norm_final_attn", "norm_final_attn"),
    )


def mask_decoder(out: str, mlp: tuple[Part, ...], head_depth: int) -> tuple[Part, ...]:
    """A mask decoder, of either generation."""
    return (
        part("transformer", inner=two_way_transformer(out, mlp)),
        *alike("iou_token", "mask_tokens", "obj_score_token"),
        part("upscale_conv1", "output_upscaling.0"),
        part("upscale_layer_norm", "output_upscaling.1"),
        part("upscale_conv2", "output_upscaling.3"),
        *alike("conv_s0", "conv_s1"),
        part("output_hypernetworks_mlps.{i}", inner=perceptron(3)),
        part("iou_prediction_head", inner=perceptron(head_depth)),
        part("pred_obj_score_head", inner=perceptron(3)),
    )


PROMPT_ENCODER = (
    part("shared_embedding.positional_embedding", "pe_layer.positional_encoding_gaussian_matrix"),
    part("point_embed.{i}", "point_embeddings.{i}"),
    part("point_embed.weight", "point_embeddings"),
    part("not_a_point_embed"),
    part("mask_embed.conv1", "mask_downscaling.0"),
    part("mask_embed.layer_norm1", "mask_downscaling.1"),
    part("mask_embed.conv2", "mask_downscaling.3"),
    part("mask_embed.layer_norm2", "mask_downscaling.4"),
    part("mask_embed.conv3", "mask_downscaling.6"),
    part("no_mask_embed"),
)
MULTI_SCALE_BLOCK = (
    part("layer_norm1", "norm1"),
    part("attn", inner=alike("qkv", "proj")),
    part("layer_norm2", "norm2"),
    part("mlp", inner=perceptron(2)),
    part("proj"),
)
HIERA = (
    *alike("pos_embed", "pos_embed_window"),
    part("patch_embed.projection", "patch_embed.proj"),
    part("blocks.{i}", inner=MULTI_SCALE_BLOCK),
)
NECK = (part("convs.{i}", "convs.{i}.conv"),)
IMAGE_ENCODER = (part("backbone", "trunk", HIERA), part("neck", inner=NECK))


def mask_down_sampler(steps: int) -> tuple[Part, ...]:
    """The sequence of convolution, norm and activation, in which activations have a number too."""
    return (
        *(
            part(f"layers.{step}.{theirs}", f"encoder.{3 * step + place}")
            for step in range(steps)
            for place, theirs in enumerate(("conv", "layer_norm"))
        ),
        part("final_conv", f"encoder.{3 * steps}"),
    )


CX_BLOCK = (
    part("scale", "gamma"),
    part("depthwise_conv", "dwconv"),
    part("layer_norm", "norm"),
    part("pointwise_conv1", "pwconv1"),
    part("pointwise_conv2", "pwconv2"),
)
FUSER = (part("layers.{i}", inner=CX_BLOCK),)


def memory_encoder(steps: int) -> tuple[Part, ...]:
    """The memory encoder with a down-sampler of so many steps."""
    return (
        part("mask_downsampler", inner=mask_down_sampler(steps)),
        part("feature_projection", "pix_feat_proj"),
        part("memory_fuser", "fuser", FUSER),
        part("projection", "out_proj"),
    )


MEMORY_ATTENTION_LAYER = (
    part("self_attn", inner=attention("o_proj")),
    part("cross_attn_image", inner=attention("o_proj")),
    *alike("linear1", "linear2"),
    part("layer_norm1", "norm1"),
    part("layer_norm2", "norm2"),
    part("layer_norm3", "norm3"),
)
MEMORY_ATTENTION = (
    part("layers.{i}", inner=MEMORY_ATTENTION_LAYER),
    part("layer_norm", "norm"),
)
