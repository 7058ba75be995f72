"""Wrong arguments end in one sentence that names the argument, its value and what is allowed."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from samblocks import blocks

x = torch.zeros


class Unrotated(nn.Module):
    def forward(self, q: Any, k: Any, v: Any) -> Any:
        return q


CASES: dict[str, tuple[Callable[[], Any], type[Exception], tuple[str, ...]]] = {
    "a stride with windows it does not divide": (
        lambda: blocks.MultiScaleBlock(8, 16, 2, q_stride=(2, 2), window_size=7)(x(1, 14, 14, 8)),
        ValueError,
        ("window_size 7", "q_stride (2, 2)", "14 x 14", "multiple of 2"),
    ),
    "a stride larger than the window": (
        lambda: blocks.MultiScaleBlock(8, 16, 2, q_stride=(2, 2), window_size=1),
        ValueError,
        ("q_stride", "window_size 1", "(2, 2)"),
    ),
    "a stride of two sizes in windows": (
        lambda: blocks.MultiScaleBlock(8, 16, 2, q_stride=(2, 1), window_size=4),
        ValueError,
        ("q_stride", "equal", "(2, 1)"),
    ),
    "a stride of one number": (
        lambda: blocks.MultiScaleBlock(8, 16, 2, q_stride=2),  # type: ignore[arg-type]
        ValueError,
        ("q_stride", "two positive numbers", "2"),
    ),
    "a stride of zero": (
        lambda: blocks.MultiScaleBlock(8, 16, 2, q_stride=(0, 2)),
        ValueError,
        ("q_stride", "two positive numbers", "(0, 2)"),
    ),
    "a map smaller than the stride": (
        lambda: blocks.MultiScaleBlock(8, 16, 2, q_stride=(2, 2), window_size=4)(x(1, 1, 6, 8)),
        ValueError,
        ("x must be", "q_stride (2, 2)", "(1, 1, 6, 8)"),
    ),
    "a negative window": (
        lambda: blocks.MultiScaleBlock(8, 8, 2, window_size=-1),
        ValueError,
        ("window_size", "0", "-1"),
    ),
    "a negative window in SAM's block": (
        lambda: blocks.Block(8, 2, window_size=-1),
        ValueError,
        ("window_size", "0", "-1"),
    ),
    "an unknown norm": (
        lambda: blocks.MultiScaleBlock(8, 8, 2, norm_layer="LayerNorm3"),
        ValueError,
        ("norm_layer", "'LayerNorm3'", "'LayerNorm'"),
    ),
    "a norm of another axis": (
        lambda: blocks.MultiScaleBlock(8, 8, 2, norm_layer="BatchNorm2d"),
        ValueError,
        ("norm_layer", "'BatchNorm2d'", "'LayerNorm'"),
    ),
    "a norm that is made already": (
        lambda: blocks.MultiScaleBlock(8, 8, 2, norm_layer=nn.LayerNorm(8)),
        TypeError,
        ("norm_layer", "LayerNorm((8,)"),
    ),
    "heads that do not divide, multi-scale": (
        lambda: blocks.MultiScaleAttention(8, 10, 4),
        ValueError,
        ("num_heads", "dim_out 10", "4"),
    ),
    "heads that do not divide, SAM": (
        lambda: blocks.REAttention(10, 4),
        ValueError,
        ("num_heads", "dim 10", "4"),
    ),
    "heads that do not divide, decoder": (
        lambda: blocks.Attention(16, 3, downsample_rate=2),
        ValueError,
        ("num_heads", "8", "3"),
    ),
    "no heads": (lambda: blocks.Attention(16, 0), ValueError, ("num_heads", "0")),
    "a dropout that is no probability": (
        lambda: blocks.Attention(16, 2, dropout=1.5),
        ValueError,
        ("dropout", "between 0 and 1", "1.5"),
    ),
    "relative positions without a size": (
        lambda: blocks.REAttention(8, 2, use_rel_pos=True),
        ValueError,
        ("input_size", "use_rel_pos", "None"),
    ),
    "relative positions over a whole map of no size": (
        lambda: blocks.Block(8, 2, use_rel_pos=True),
        ValueError,
        ("input_size", "use_rel_pos", "None"),
    ),
    "tokens that form no grid": (
        lambda: blocks.RoPEAttention(16, 2)(x(1, 6, 16), x(1, 6, 16), x(1, 6, 16)),
        ValueError,
        ("q has 6 tokens", "feat_sizes 32 x 32", "square"),
    ),
    "keys that were not announced": (
        lambda: blocks.RoPEAttention(16, 2)(x(1, 4, 16), x(1, 8, 16), x(1, 8, 16)),
        ValueError,
        ("k must have 4", "rope_k_repeat is False", "8"),
    ),
    "keys that are no whole grids": (
        lambda: blocks.RoPEAttention(16, 2, rope_k_repeat=True)(x(1, 4, 16), x(1, 9, 16), x(1, 9, 16)),
        ValueError,
        ("a multiple of 4", "9"),
    ),
    "fewer keys than queries": (
        lambda: blocks.RoPEAttention(16, 2, rope_k_repeat=True)(x(1, 4, 16), x(1, 2, 16), x(1, 2, 16)),
        ValueError,
        ("a multiple of 4", "2"),
    ),
    "more keys excluded than there are": (
        lambda: blocks.RoPEAttention(16, 2)(x(1, 4, 16), x(1, 4, 16), x(1, 4, 16), num_k_exclude_rope=5),
        ValueError,
        ("num_k_exclude_rope", "4 keys", "5"),
    ),
    "a negative number of keys excluded": (
        lambda: blocks.RoPEAttention(16, 2)(x(1, 4, 16), x(1, 4, 16), x(1, 4, 16), num_k_exclude_rope=-1),
        ValueError,
        ("num_k_exclude_rope", "-1"),
    ),
    "heads that cannot be turned": (
        lambda: blocks.RoPEAttention(12, 2),
        ValueError,
        ("multiple of 4", "6"),
    ),
    "a grid of one number": (
        lambda: blocks.RoPEAttention(16, 2, feat_sizes=(4,)),  # type: ignore[arg-type]
        ValueError,
        ("feat_sizes", "(width, height)", "(4,)"),
    ),
    "excluded keys without rotation": (
        lambda: blocks.MemoryAttentionLayer(16, 8, cross_attn=Unrotated())(
            x(1, 4, 16), x(1, 4, 16), num_k_exclude_rope=2
        ),
        ValueError,
        ("num_k_exclude_rope", "RoPEAttention", "2"),
    ),
    "a sine encoding of 2 channels": (
        lambda: blocks.PositionEmbeddingSine(2),
        ValueError,
        ("num_pos_feats", "multiple of 4", "2"),
    ),
    "a sine encoding of 6 channels": (
        lambda: blocks.PositionEmbeddingSine(6),
        ValueError,
        ("num_pos_feats", "multiple of 4", "6"),
    ),
    "a scale that is not used": (
        lambda: blocks.PositionEmbeddingSine(8, normalize=False, scale=2.0),
        ValueError,
        ("scale", "normalize", "2.0"),
    ),
    "an encoding of tokens": (
        lambda: blocks.PositionEmbeddingSine(8)(x(1, 4, 8)),
        ValueError,
        ("x must be [B, C, H, W]", "(1, 4, 8)"),
    ),
    "points of two lengths": (
        lambda: blocks.PositionEmbeddingSine(8).encode_boxes(x(2), x(3), x(2), x(2)),
        ValueError,
        ("x and y", "(2,)", "(3,)"),
    ),
    "points and labels of two shapes": (
        lambda: blocks.PositionEmbeddingSine(8).encode_points(x(2, 3), x(2, 3), x(2, 4)),
        ValueError,
        ("labels", "[B, N]", "(2, 4)"),
    ),
    "a probability above 1": (
        lambda: blocks.DropPath(1.5),
        ValueError,
        ("drop_prob", "between 0 and 1", "1.5"),
    ),
    "integers in training": (
        lambda: blocks.DropPath(0.5)(torch.ones(2, 2, dtype=torch.int64)),
        TypeError,
        ("x must be floating point", "int64"),
    ),
    "a residual of another width": (
        lambda: blocks.MLP(4, 8, 5, 2, residual=True),
        ValueError,
        ("residual", "4", "5"),
    ),
    "a norm that is no module": (
        lambda: blocks.MLP(4, 8, 4, 2, out_norm=nn.LayerNorm),  # type: ignore[arg-type]
        TypeError,
        ("out_norm", "nn.Module or None", "LayerNorm"),
    ),
    "a total stride that is no power": (
        lambda: blocks.MaskDownSampler(stride=4, total_stride=8),
        ValueError,
        ("total_stride", "stride 4", "8"),
    ),
    "a stride that shrinks nothing": (
        lambda: blocks.MaskDownSampler(stride=1),
        ValueError,
        ("stride", "at least 2", "1"),
    ),
    "a size of one number": (
        lambda: blocks.MaskDownSampler(interpol_size=64),  # type: ignore[arg-type]
        ValueError,
        ("interpol_size", "(height, width)", "64"),
    ),
    "padding that changes the size": (
        lambda: blocks.CXBlock(4, kernel_size=3, padding=0)(x(1, 4, 5, 5)),
        ValueError,
        ("padding", "(1, 4, 5, 5)", "(1, 4, 3, 3)"),
    ),
    "a projection of unknown width": (
        lambda: blocks.Fuser(blocks.CXBlock(4), 1, input_projection=True),
        ValueError,
        ("dim", "input_projection", "None"),
    ),
    "tokens where a map is due": (
        lambda: blocks.LayerNorm2d(4)(x(1, 5, 4)),
        ValueError,
        ("[B, C, H, W] with C=4", "(1, 5, 4)"),
    ),
    "a map of other channels": (
        lambda: blocks.LayerNorm2d(4)(x(1, 5, 4, 4)),
        ValueError,
        ("[B, 4, H, W]", "(1, 5, 4, 4)"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_message_says_what_is_wrong_and_what_is_allowed(name: str) -> None:
    call, error, parts = CASES[name]
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert [part for part in parts if part not in message] == [], message
    assert not re.search(r"\n", message)
