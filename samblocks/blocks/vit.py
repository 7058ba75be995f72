"""The transformer block of SAM's image encoder."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.blocks.common import MLPBlock
from samblocks.ops.attend import attend, merge_heads
from samblocks.ops.attend_with_rel_pos import attend_with_rel_pos
from samblocks.ops.chunking import in_chunks, rows_at_once
from samblocks.ops.eager_attention import Implementation
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.linear import linear
from samblocks.ops.norm import layer_norm
from samblocks.ops.rel_pos import rel_pos_terms
from samblocks.ops.windows import (
    attend_in_windows,
    padding_is_known,
    window_partition,
    window_unpartition,
)


@checks_arguments(C="qkv.in_features")
@computes_half_in_float32
class REAttention(nn.Module):
    """Attention among the pixels of a map, with decomposed relative positions if wanted.

    Maps of other sizes than `input_size` are allowed: the tables of relative positions are interpolated.

    Args:
        dim: channels C.
        num_heads: number of heads.
        qkv_bias: whether the projection to queries, keys and values has a bias.
        use_rel_pos: whether relative positions are added to the scores.
        rel_pos_zero_init: accepted for compatibility; the tables always begin at zero.
        input_size: (height, width) that the tables are made for; needed with `use_rel_pos`.

    Raises:
        ValueError: if `num_heads` does not divide `dim`, or `use_rel_pos` is set without `input_size`.

    Examples:
        >>> attention = REAttention(dim=64, num_heads=4, use_rel_pos=True, input_size=(14, 14))
        >>> tuple(attention(torch.randn(1, 14, 14, 64)).shape)
        (1, 14, 14, 64)

    Upstream: facebookresearch/segment-anything segment_anything/modeling/image_encoder.py
    """

    implementation: Implementation = "fused"
    """The order of operations: the fused kernel's, or that of the library whose attention it stands for."""

    sums_terms: bool = False
    """Whether, written out, both terms of relative positions are added up before they are added to the scores."""

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"num_heads must divide dim {dim}, got {num_heads}")
        channels = dim // num_heads
        self.num_heads, self.use_rel_pos, self.scale = num_heads, use_rel_pos, channels**-0.5
        if use_rel_pos:
            if input_size is None:
                raise ValueError("input_size must be (height, width) if use_rel_pos is True, got None")
            # One row for each distance that two pixels of an axis can have.
            rows, columns = (2 * side - 1 for side in input_size)
            self.rel_pos_h = nn.Parameter(torch.zeros(rows, channels))
            self.rel_pos_w = nn.Parameter(torch.zeros(columns, channels))
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the pixels of a map.

        Args:
            x: [B, H, W, C]

        Returns:
            What the pixels have gathered: [B, H, W, C].
        """
        return linear(self.proj, self.gather(linear(self.qkv, x)))

    def gather(self, qkv: Tensor) -> Tensor:
        """Attend with queries, keys and values that are projected already.

        Args:
            qkv: [B, H, W, 3 * C]

        Returns:
            What the pixels gather, not projected: [B, H, W, C].
        """
        batch, height, width, channels = *qkv.shape[:3], qkv.shape[3] // 3
        qkv = qkv.reshape(batch, height * width, 3, self.num_heads, channels // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if not self.use_rel_pos:
            gathered = attend(q, k, v, scale=self.scale, implementation=self.implementation)
        else:
            # The terms are those of the plain queries: only the dot products are scaled.
            terms = rel_pos_terms(
                q.flatten(0, 1), self.rel_pos_h, self.rel_pos_w, (height, width), (height, width)
            )
            rows, columns = (term.reshape(*q.shape[:2], *term.shape[1:]) for term in terms)
            gathered = attend_with_rel_pos(
                q,
                k,
                v,
                rows,
                columns,
                scale=self.scale,
                implementation=self.implementation,
                summed=self.sums_terms,
            )
        return merge_heads(gathered).reshape(batch, height, width, channels)


@checks_arguments(C="norm1.weight")
@computes_half_in_float32
class Block(nn.Module):
    """A transformer block on a map: attention, in windows or global, and an MLP, each added to its input.

    Windows are padded with zeros after the first norm; the padding takes part in attention.

    Args:
        dim: channels C.
        num_heads: number of heads.
        mlp_ratio: channels inside the MLP, as a multiple of `dim`.
        qkv_bias: whether the projection to queries, keys and values has a bias.
        norm_layer: makes a norm for a number of channels.
        act_layer: makes the MLP's activation.
        use_rel_pos: whether relative positions are added to the scores.
        rel_pos_zero_init: accepted for compatibility; the tables always begin at zero.
        window_size: side of the windows in pixels; 0 for attention over the whole map.
        input_size: (height, width) of the map, for relative positions over the whole map.

    Raises:
        ValueError: if `window_size` is negative, and as for `REAttention`.

    Examples:
        >>> block = Block(dim=64, num_heads=4, window_size=7)
        >>> tuple(block(torch.randn(1, 20, 30, 64)).shape)
        (1, 20, 30, 64)

    Upstream: facebookresearch/segment-anything segment_anything/modeling/image_encoder.py
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if window_size < 0:
            raise ValueError(f"window_size must be 0 (the whole map) or positive, got {window_size}")
        self.norm1 = norm_layer(dim)
        attended = (window_size, window_size) if window_size else input_size
        self.attn = REAttention(dim, num_heads, qkv_bias, use_rel_pos, rel_pos_zero_init, attended)
        self.norm2 = norm_layer(dim)
        self.mlp = MLPBlock(dim, int(dim * mlp_ratio), act_layer)
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map.

        Args:
            x: [B, H, W, C]

        Returns:
            The transformed map: [B, H, W, C].
        """
        rows = rows_at_once(x, 4 * x.shape[-1], max(self.window_size, 1))
        if self.window_size > 0:  # windows do not look at each other
            return in_chunks(self, lambda part: self._feed_forward(self._attend(part)), x, rows)
        return in_chunks(self, self._feed_forward, self._attend(x), rows)

    def _attend(self, x: Tensor) -> Tensor:
        shortcut = x
        x = layer_norm(self.norm1, x)
        if type(self.attn) is REAttention and padding_is_known(self, self.attn.qkv, x, self.window_size):
            x = attend_in_windows(self.attn.qkv, self.attn.gather, self.attn.proj, x, self.window_size)
        elif self.window_size > 0:
            size = (x.shape[1], x.shape[2])
            windows, pad_hw = window_partition(x, self.window_size)
            x = window_unpartition(self.attn(windows), self.window_size, pad_hw, size)
        else:
            x = self.attn(x)
        return shortcut + x

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mlp(layer_norm(self.norm2, x))
        return out
