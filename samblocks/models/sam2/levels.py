"""The levels of SAM 2's image encoder, as maps for its heads and as tokens for its memory."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def to_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """From tokens [N, B, C] to a map [B, C, H, W]."""
    return tokens.permute(1, 2, 0).reshape(tokens.shape[1], tokens.shape[2], height, width)


def to_tokens(x: Tensor) -> Tensor:
    """From a map [B, C, H, W] to tokens [N, B, C]."""
    return x.flatten(2).permute(2, 0, 1)


def levels_as_tokens(
    backbone_out: Mapping[str, Any], levels: int, batch: int
) -> tuple[dict[str, Any], list[Tensor], list[Tensor], list[tuple[int, int]]]:
    """Flatten the coarsest levels of an image into tokens.

    Args:
        backbone_out: "backbone_fpn", maps [1, C, H, W] or [B, C, H, W] of the levels, finest first, and their
            "vision_pos_enc"; left as it is.
        levels: how many of them.
        batch: number of objects; maps of one image are repeated for them.

    Returns:
        A copy of `backbone_out` with the repeated maps, and for each of the levels, coarsest last, tokens
        [N, B, C], their position encodings [N, B, C] and (height, width).

    Raises:
        ValueError: when levels are missing.
    """
    maps, encodings = list(backbone_out["backbone_fpn"]), list(backbone_out["vision_pos_enc"])
    if len(maps) != len(encodings) or len(maps) < levels:
        raise ValueError(
            f"backbone_out: {len(maps)} maps and {len(encodings)} position encodings, must be as many, "
            f"at least {levels}"
        )
    if batch > 1:
        maps = [x.expand(batch, -1, -1, -1) for x in maps]
        encodings = [x.expand(batch, -1, -1, -1) for x in encodings]
    prepared = {**backbone_out, "backbone_fpn": maps, "vision_pos_enc": encodings}
    maps, encodings = maps[-levels:], encodings[-levels:]
    sizes = [(x.shape[-2], x.shape[-1]) for x in encodings]
    return prepared, [to_tokens(x) for x in maps], [to_tokens(x) for x in encodings], sizes
