"""What the mask decoders of SAM 1 and SAM 2 share."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from samblocks.blocks import MLP, LayerNorm2d, TwoWayTransformer
from samblocks.blocks.two_way import SharedImage
from samblocks.models.decoder_masks import can_stay_in_blocks, in_blocks, masks_of_blocks
from samblocks.ops.chunking import keep_freed_memory
from samblocks.ops.fast_path import folding_allowed, paths_are_plain


class Plan(NamedTuple):
    """How prompts are decoded: what the first layer makes of the image that all share, if they do; and whether the
    image is enlarged in blocks, in which the finer maps are then given.
    """

    image: SharedImage | None
    blocks: bool


def plan(decoder: nn.Module, prompts: int, *maps: Tensor) -> Plan:
    """Choose how prompts are decoded.

    Args:
        decoder: a mask decoder of SAM or SAM 2.
        prompts: B.
        *maps: [B, C, H, W], the images, the encoding of places, dense prompts, and finer maps if there are any.

    Returns:
        How; the plain way where another would be noticed.
    """
    if torch.compiler.is_compiling() or not prompts or not folding_allowed(decoder, *maps):
        return Plan(None, blocks=False)
    keep_freed_memory(maps[0])
    upscaling, transformer = cast(Any, decoder).output_upscaling, cast(Any, decoder).transformer
    same = prompts > 1 and all(x.stride(0) == 0 for x in maps[:3])
    image = None
    if same and isinstance(transformer, TwoWayTransformer) and len(transformer.layers):
        images, places, dense = (x[:1] for x in maps[:3])
        image = transformer.share(images + dense, places)
    return Plan(image, can_stay_in_blocks(upscaling) and len(maps) in (3, 5))


def arrange(maps: Tensor, factor: int) -> Tensor:
    """Put finer maps [B, C, f * H, f * W] into blocks, [B, H * W * f * f, C], one for all where all are the same."""
    if maps.stride(0) == 0 and len(maps) > 1:
        return in_blocks(maps[:1], factor).expand(len(maps), -1, -1)
    return in_blocks(maps, factor)


def with_learned(learned: Sequence[Tensor], prompts: Tensor) -> Tensor:
    """Learned tokens, [n, C] each, and after them those of prompts [B, T, C]: [B, N, C]."""
    # The shape, not len: a traced graph would have it as a constant.
    return torch.cat([torch.cat(list(learned)).expand(prompts.shape[0], -1, -1), prompts], dim=1)


def look(decoder: nn.Module, how: Plan, tokens: Tensor) -> Tensor | None:
    """Let the tokens [B, N, C] of all prompts look at the image that they share; None where there is none."""
    return None if how.image is None else cast(Any, decoder).transformer.look(how.image, tokens)


def transform(
    decoder: nn.Module,
    how: Plan,
    tokens: Tensor,
    looked: Tensor | None,
    images: Tensor,
    places: Tensor,
    dense: Tensor,
) -> tuple[Tensor, Tensor]:
    """Let tokens [B, N, C] and maps [B, C, H, W] go through the transformer: tokens, and the image as tokens.

    `looked` is what `look` gave for these tokens.
    """
    transformer = cast(Any, decoder).transformer
    if how.image is not None:
        return cast("tuple[Tensor, Tensor]", transformer.forward_shared(how.image, tokens, looked))
    return cast("tuple[Tensor, Tensor]", transformer(images + dense, places, tokens))


def for_prompts(name: str, maps: Tensor, prompts: int, *, copies: bool = False) -> Tensor:
    """Spread one map over all prompts (a view), or pair maps with prompts.

    Args:
        name: the argument, for the error.
        maps: [1, C, H, W] or [B, C, H, W].
        prompts: B.
        copies: whether upstream makes copies here, which lie in memory map by map: what follows is summed in
            another order then, which shows in the last bits.

    Returns:
        [B, C, H, W].

    Raises:
        ValueError: there are more maps than one, and not as many as prompts.
    """
    if len(maps) not in (1, prompts):
        raise ValueError(f"{name} hold {len(maps)} maps for {prompts} prompts; must be 1 or as many")
    if copies and paths_are_plain():
        maps = maps.contiguous()
    return maps.expand(prompts, -1, -1, -1)


def head_of(mlp: nn.Module, tokens: Tensor, *, images: bool) -> Tensor:
    """Call a head with tokens [B, C], or with an axis of images before them as transformers does.

    With it torch adds the bias in a step of its own, which rounds once more in half precision.
    """
    out: Tensor = mlp(tokens.unsqueeze(0)).squeeze(0) if images else mlp(tokens)
    return out


def make_masks(
    decoder: nn.Module, how: Plan, mask_tokens: Tensor, keys: Tensor, size: tuple[int, int], *finer: Tensor
) -> Tensor:
    """Enlarge the image, turn each mask token into a vector by its own MLP and multiply every pixel with it.

    Args:
        decoder: with an MLP for each mask.
        how: as planned.
        mask_tokens: [B, M, C].
        keys: [B, H * W, C], the image's tokens.
        size: (H, W).
        *finer: maps that are added on the way, in blocks if that is planned.

    Returns:
        [B, M, 4H, 4W] logits.
    """
    vectors, upscaling = mask_vectors(decoder, mask_tokens), cast(Any, decoder).output_upscaling
    if how.blocks:
        return masks_of_blocks(upscaling, vectors, keys, size, finer)
    return multiply_out(vectors, _enlarge(upscaling, as_map(keys, size), finer))


def mask_vectors(decoder: nn.Module, mask_tokens: Tensor) -> Tensor:
    """Turn each mask token of [B, M, C] into a vector by its own MLP, [B, M, C/8]."""
    parts = cast(Any, decoder)
    heads = enumerate(parts.output_hypernetworks_mlps)
    return torch.stack(
        [head_of(mlp, mask_tokens[:, i], images=parts.heads_see_images) for i, mlp in heads], dim=1
    )


def as_map(keys: Tensor, size: tuple[int, int]) -> Tensor:
    """The image's tokens [B, H * W, C] as a map, [B, C, H, W]."""
    return keys.transpose(1, 2).reshape(keys.shape[0], keys.shape[2], *size)


def multiply_out(vectors: Tensor, upscaled: Tensor) -> Tensor:
    """Multiply every pixel of [B, C, H, W] with each vector of [B, M, C]: [B, M, H, W]."""
    batch, _, height, width = upscaled.shape
    return (vectors @ upscaled.flatten(2)).reshape(batch, vectors.shape[1], height, width)


def _enlarge(upscaling: nn.Sequential, src: Tensor, finer_maps: tuple[Tensor, ...]) -> Tensor:
    """Enlarge the map [B, C, H, W] to [B, C/8, 4H, 4W], adding the finer maps on the way."""
    if not finer_maps:
        return cast(Tensor, upscaling(src))
    enlarge_1, norm, act_1, enlarge_2, act_2 = upscaling
    finest, finer = finer_maps
    x = act_1(norm(enlarge_1(src) + finer))
    return cast(Tensor, act_2(enlarge_2(x) + finest))


def make_upscaling(dim: int, activation: type[nn.Module]) -> nn.Sequential:
    """Make the two steps that enlarge a map [B, C, H, W] to [B, C/8, 4H, 4W].

    Args:
        dim: C.
        activation: called without arguments, once for each step.

    Returns:
        Five modules: enlarge, norm, activation, enlarge, activation.
    """
    return nn.Sequential(
        nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
        LayerNorm2d(dim // 4),
        activation(),
        nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
        activation(),
    )


def make_hypernetworks(dim: int, count: int) -> nn.ModuleList:
    """Make one MLP for each mask token, from C channels to C/8.

    Args:
        dim: C.
        count: how many.

    Returns:
        As many MLPs of three layers.
    """
    return nn.ModuleList(MLP(dim, dim, dim // 8, 3) for _ in range(count))


def check_dim(transformer_dim: int) -> None:
    """Refuse widths that the steps of enlargement cannot divide.

    Args:
        transformer_dim: channels of the decoder.

    Raises:
        ValueError: it is no positive multiple of 8.
    """
    if transformer_dim < 8 or transformer_dim % 8:
        raise ValueError(f"transformer_dim={transformer_dim} must be a positive multiple of 8")
