"""What the mask decoders of SAM 1 and SAM 2 share."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from samblocks.blocks import MLP, LayerNorm2d
from samblocks.ops.chunking import prompts_at_once
from samblocks.ops.fast_path import fast_path_allowed, paths_are_plain


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


def decode_in_chunks(
    decoder: nn.Module, decode: Callable[..., tuple[Tensor, ...]], *inputs: Tensor
) -> tuple[Tensor, ...]:
    """Decode some prompts at a time: they do not look at each other, and each has a copy of the image's map.

    Args:
        decoder: whose layers are called, for `fast_path_allowed`.
        decode: from the inputs, or a part of each, to outputs for as many prompts.
        *inputs: [B, ...], all for the same prompts; the second one is the image's map, [B, C, H, W].

    Returns:
        The outputs for all prompts: [B, ...].
    """
    prompts, maps = inputs[:2]
    step = prompts_at_once(len(prompts), maps)
    if step >= len(prompts) or not fast_path_allowed(decoder, *inputs):
        return decode(*inputs)
    done = [decode(*some) for some in zip(*(torch.split(x, step) for x in inputs), strict=True)]
    return tuple(torch.cat(parts) for parts in zip(*done, strict=True))


def head_of(mlp: nn.Module, tokens: Tensor, *, images: bool) -> Tensor:
    """Call a head with tokens [B, C], or with an axis of images before them as transformers does.

    With it torch adds the bias in a step of its own, which rounds once more in half precision.
    """
    out: Tensor = mlp(tokens.unsqueeze(0)).squeeze(0) if images else mlp(tokens)
    return out


def multiply_out(
    hypernetworks: nn.ModuleList, mask_tokens: Tensor, upscaled: Tensor, *, images: bool = False
) -> Tensor:
    """Turn each mask token into a vector by its own MLP and multiply every pixel with it.

    Args:
        hypernetworks: one MLP for each mask.
        mask_tokens: [B, M, C].
        upscaled: [B, C/8, H, W].
        images: see `head_of`.

    Returns:
        [B, M, H, W] logits.
    """
    vectors = torch.stack(
        [head_of(mlp, mask_tokens[:, i], images=images) for i, mlp in enumerate(hypernetworks)], dim=1
    )
    batch, _, height, width = upscaled.shape
    return (vectors @ upscaled.flatten(2)).reshape(batch, len(hypernetworks), height, width)


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
