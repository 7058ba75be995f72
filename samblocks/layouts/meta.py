"""Every tensor of a variant in Meta's layout: its name, shape and dtype, in state-dict order.

This is what all other layouts are mapped to and from, and what a file is recognised by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType

from samblocks.layouts.facts import Facts, Sam2Facts, SamFacts, facts_of
from samblocks.layouts.meta_tiny_vit import tiny_vit_tensors
from samblocks.layouts.tensors import TensorInfo

Named = Iterator[tuple[str, TensorInfo]]

WIDTH = 256
"""Channels of prompts and of every image embedding, in all variants."""

MEMORY_WIDTH = 64
"""Channels of a memory, in all SAM 2 variants."""


def _tensor(name: str, *shape: int) -> Named:
    yield name, TensorInfo(shape)


def _affine(name: str, *shape: int, bias: int | None = None) -> Named:
    """A layer's weight and its bias, which has the first size unless told otherwise."""
    yield f"{name}.weight", TensorInfo(shape)
    yield f"{name}.bias", TensorInfo((shape[0] if bias is None else bias,))


def _attention(name: str, *, inner: int, width: int = WIDTH, key_width: int = WIDTH) -> Named:
    yield from _affine(f"{name}.q_proj", inner, width)
    yield from _affine(f"{name}.k_proj", inner, key_width)
    yield from _affine(f"{name}.v_proj", inner, key_width)
    yield from _affine(f"{name}.out_proj", width, inner)


def _head(name: str, out: int) -> Named:
    """The three-layer perceptron that reads a token."""
    for layer, size in enumerate((WIDTH, WIDTH, out)):
        yield from _affine(f"{name}.layers.{layer}", size, WIDTH)


def _vit(facts: SamFacts, grid: int) -> Named:
    width = facts.width
    yield from _tensor("image_encoder.pos_embed", 1, grid, grid, width)
    yield from _affine("image_encoder.patch_embed.proj", width, 3, 16, 16)
    for index in range(facts.depth):
        block = f"image_encoder.blocks.{index}"
        reach = 2 * grid - 1 if index in facts.global_blocks else 27
        yield from _affine(f"{block}.norm1", width)
        yield from _tensor(f"{block}.attn.rel_pos_h", reach, width // facts.heads)
        yield from _tensor(f"{block}.attn.rel_pos_w", reach, width // facts.heads)
        yield from _affine(f"{block}.attn.qkv", 3 * width, width)
        yield from _affine(f"{block}.attn.proj", width, width)
        yield from _affine(f"{block}.norm2", width)
        yield from _affine(f"{block}.mlp.lin1", 4 * width, width)
        yield from _affine(f"{block}.mlp.lin2", width, 4 * width)


def _sam_neck(width: int) -> Named:
    yield from _tensor("image_encoder.neck.0.weight", WIDTH, width, 1, 1)
    yield from _affine("image_encoder.neck.1", WIDTH)
    yield from _tensor("image_encoder.neck.2.weight", WIDTH, WIDTH, 3, 3)
    yield from _affine("image_encoder.neck.3", WIDTH)


def _hiera(facts: Sam2Facts) -> Named:
    trunk = "image_encoder.trunk"
    yield from _tensor(f"{trunk}.pos_embed", 1, facts.width, facts.grid, facts.grid)
    yield from _tensor(f"{trunk}.pos_embed_window", 1, facts.width, 8, 8)
    yield from _affine(f"{trunk}.patch_embed.proj", facts.width, 3, 7, 7)
    widths = facts.stage_widths
    for index, (stage, place) in enumerate(facts.places):
        block, width = f"{trunk}.blocks.{index}", widths[stage]
        grows = stage > 0 and place == 0
        entry = width // 2 if grows else width
        yield from _affine(f"{block}.norm1", entry)
        yield from _affine(f"{block}.attn.qkv", 3 * width, entry)
        yield from _affine(f"{block}.attn.proj", width, width)
        yield from _affine(f"{block}.norm2", width)
        yield from _affine(f"{block}.mlp.layers.0", 4 * width, width)
        yield from _affine(f"{block}.mlp.layers.1", width, 4 * width)
        if grows:
            yield from _affine(f"{block}.proj", width, entry)
    for level, width in enumerate(reversed(widths)):
        yield from _affine(f"image_encoder.neck.convs.{level}.conv", WIDTH, width, 1, 1)


def _prompt_encoder(name: str) -> Named:
    yield from _tensor(f"{name}.pe_layer.positional_encoding_gaussian_matrix", 2, WIDTH // 2)
    for label in range(4):
        yield from _tensor(f"{name}.point_embeddings.{label}.weight", 1, WIDTH)
    yield from _tensor(f"{name}.not_a_point_embed.weight", 1, WIDTH)
    yield from _affine(f"{name}.mask_downscaling.0", 4, 1, 2, 2)
    yield from _affine(f"{name}.mask_downscaling.1", 4)
    yield from _affine(f"{name}.mask_downscaling.3", 16, 4, 2, 2)
    yield from _affine(f"{name}.mask_downscaling.4", 16)
    yield from _affine(f"{name}.mask_downscaling.6", WIDTH, 16, 1, 1)
    yield from _tensor(f"{name}.no_mask_embed.weight", 1, WIDTH)


def _two_way(name: str, mlp: tuple[str, str]) -> Named:
    half = WIDTH // 2
    for layer in range(2):
        block = f"{name}.layers.{layer}"
        yield from _attention(f"{block}.self_attn", inner=WIDTH)
        yield from _affine(f"{block}.norm1", WIDTH)
        yield from _attention(f"{block}.cross_attn_token_to_image", inner=half)
        yield from _affine(f"{block}.norm2", WIDTH)
        yield from _affine(f"{block}.mlp.{mlp[0]}", 2048, WIDTH)
        yield from _affine(f"{block}.mlp.{mlp[1]}", WIDTH, 2048)
        yield from _affine(f"{block}.norm3", WIDTH)
        yield from _affine(f"{block}.norm4", WIDTH)
        yield from _attention(f"{block}.cross_attn_image_to_token", inner=half)
    yield from _attention(f"{name}.final_attn_token_to_image", inner=half)
    yield from _affine(f"{name}.norm_final_attn", WIDTH)


def _mask_decoder(name: str, *, sam2: bool) -> Named:
    yield from _two_way(f"{name}.transformer", ("layers.0", "layers.1") if sam2 else ("lin1", "lin2"))
    yield from _tensor(f"{name}.iou_token.weight", 1, WIDTH)
    yield from _tensor(f"{name}.mask_tokens.weight", 4, WIDTH)
    if sam2:
        yield from _tensor(f"{name}.obj_score_token.weight", 1, WIDTH)
    yield from _affine(f"{name}.output_upscaling.0", WIDTH, 64, 2, 2, bias=64)
    yield from _affine(f"{name}.output_upscaling.1", 64)
    yield from _affine(f"{name}.output_upscaling.3", 64, 32, 2, 2, bias=32)
    if sam2:
        yield from _affine(f"{name}.conv_s0", 32, WIDTH, 1, 1)
        yield from _affine(f"{name}.conv_s1", 64, WIDTH, 1, 1)
    for token in range(4):
        yield from _head(f"{name}.output_hypernetworks_mlps.{token}", 32)
    yield from _head(f"{name}.iou_prediction_head", 4)
    if sam2:
        yield from _head(f"{name}.pred_obj_score_head", 1)


def _memory_attention() -> Named:
    for layer in range(4):
        block = f"memory_attention.layers.{layer}"
        yield from _attention(f"{block}.self_attn", inner=WIDTH)
        yield from _attention(f"{block}.cross_attn_image", inner=WIDTH, key_width=MEMORY_WIDTH)
        yield from _affine(f"{block}.linear1", 2048, WIDTH)
        yield from _affine(f"{block}.linear2", WIDTH, 2048)
        for norm in (1, 2, 3):
            yield from _affine(f"{block}.norm{norm}", WIDTH)
    yield from _affine("memory_attention.norm", WIDTH)


def _memory_encoder() -> Named:
    for step, (entry, width) in enumerate(((1, 4), (4, 16), (16, 64), (64, 256))):
        encoder = "memory_encoder.mask_downsampler.encoder"
        yield from _affine(f"{encoder}.{3 * step}", width, entry, 3, 3)
        yield from _affine(f"{encoder}.{3 * step + 1}", width)
    yield from _affine("memory_encoder.mask_downsampler.encoder.12", WIDTH, WIDTH, 1, 1)
    yield from _affine("memory_encoder.pix_feat_proj", WIDTH, WIDTH, 1, 1)
    for layer in range(2):
        block = f"memory_encoder.fuser.layers.{layer}"
        yield from _tensor(f"{block}.gamma", WIDTH)
        yield from _affine(f"{block}.dwconv", WIDTH, 1, 7, 7)
        yield from _affine(f"{block}.norm", WIDTH)
        yield from _affine(f"{block}.pwconv1", 4 * WIDTH, WIDTH)
        yield from _affine(f"{block}.pwconv2", WIDTH, 4 * WIDTH)
    yield from _affine("memory_encoder.out_proj", MEMORY_WIDTH, WIDTH, 1, 1)


def _sam2(facts: Sam2Facts, num_maskmem: int) -> Named:
    yield from _tensor("maskmem_tpos_enc", num_maskmem, 1, 1, MEMORY_WIDTH)
    yield from _tensor("no_mem_embed", 1, 1, WIDTH)
    yield from _tensor("no_mem_pos_enc", 1, 1, WIDTH)
    yield from _tensor("no_obj_ptr", 1, WIDTH)
    if facts.is_21:
        yield from _tensor("no_obj_embed_spatial", 1, MEMORY_WIDTH)
    yield from _hiera(facts)
    yield from _affine("mask_downsample", 1, 1, 4, 4)
    yield from _memory_attention()
    yield from _memory_encoder()
    yield from _prompt_encoder("sam_prompt_encoder")
    yield from _mask_decoder("sam_mask_decoder", sam2=True)
    yield from _head("obj_ptr_proj", WIDTH)
    if facts.is_21:
        yield from _affine("obj_ptr_tpos_proj", MEMORY_WIDTH, WIDTH)


def _all(facts: Facts, grid: int, num_maskmem: int) -> Named:
    if isinstance(facts, Sam2Facts):
        yield from _sam2(facts, num_maskmem)
        return
    if facts.family == "mobile_sam":
        yield from tiny_vit_tensors("image_encoder")
        yield from _sam_neck(320)
    else:
        yield from _vit(facts, grid)
        yield from _sam_neck(facts.width)
    yield from _prompt_encoder("prompt_encoder")
    yield from _mask_decoder("mask_decoder", sam2=False)


@lru_cache(maxsize=64)
def meta_tensors(variant: str, *, image_size: int = 1024, num_maskmem: int = 7) -> Mapping[str, TensorInfo]:
    """Every tensor of a variant in Meta's layout, in the order of its state dict.

    Args:
        variant: a name out of `FACTS`.
        image_size: side of the image in pixels that the model was built for; it decides shapes only in the
            ViT variants of SAM (`pos_embed` and the tables of the global blocks).
        num_maskmem: memories that the model was built for; it decides a shape only in SAM 2.

    Returns:
        name to shape and dtype.

    Raises:
        ValueError: there is no such variant.

    >>> tensors = meta_tensors("sam2.1_hiera_tiny")
    >>> len(tensors), tensors["no_obj_embed_spatial"].shape
    (471, (1, 64))

    Upstream: facebookresearch/segment-anything, facebookresearch/sam2 (the names of their state dicts)
    """
    return MappingProxyType(dict(_all(facts_of(variant), image_size // 16, num_maskmem)))
