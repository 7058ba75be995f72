"""Attention whose queries and keys are rotated by their place in the image."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.blocks.attention import Attention
from samblocks.ops.attend_narrow import attend_narrow
from samblocks.ops.fast_path import fast_path_allowed
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.linear import linear
from samblocks.ops.precision import at_least_float32
from samblocks.ops.rope import axial_tables, compute_axial_cis, rotate_pairs, rotate_pairs_


@checks_arguments(C="embedding_dim", K="kv_in_dim")
@computes_half_in_float32
class RoPEAttention(Attention):
    """Attention with axial rotary position encoding of queries and keys.

    Queries are the pixels of a grid, row by row. Keys are those of one grid, or (`rope_k_repeat`) of
    several of the same size one after the other, and may end in tokens without a place, which stay as they
    are. The grid is `feat_sizes` where that has as many pixels as there are queries, else a square.

    Args:
        *args: as for `Attention`.
        rope_theta: base of the angles' geometric row.
        rope_k_repeat: whether keys may come from several grids.
        feat_sizes: (width, height) of the grid; may be set anew later on.
        **kwargs: as for `Attention`.

    Raises:
        ValueError: if the channels of a head are no multiple of 4, or `feat_sizes` is not two whole
            numbers of at least 1.

    Examples:
        >>> attention = RoPEAttention(64, num_heads=4)
        >>> x = torch.randn(1, 256, 64)  # the pixels of a square of 16 x 16
        >>> tuple(attention(x, x, x).shape)
        (1, 256, 64)
        >>> wide = RoPEAttention(32, 2, feat_sizes=(6, 4), rope_k_repeat=True)  # 6 wide, 4 high
        >>> q, memory = torch.randn(1, 24, 32), torch.randn(1, 24 * 2 + 3, 32)
        >>> tuple(wide(q, memory, memory, num_k_exclude_rope=3).shape)
        (1, 24, 32)

    Upstream: facebookresearch/sam2 sam2/modeling/sam/transformer.py
    """

    def __init__(
        self,
        *args: Any,
        rope_theta: float = 10000.0,
        rope_k_repeat: bool = False,
        feat_sizes: tuple[int, int] = (32, 32),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        head_dim = self.internal_dim // self.num_heads
        if head_dim % 4:
            raise ValueError(
                f"the channels of a head, internal_dim // num_heads, must be a multiple of 4, got {head_dim}"
            )
        if not isinstance(feat_sizes, tuple | list) or len(feat_sizes) != 2 or min(feat_sizes) < 1:
            raise ValueError(f"feat_sizes must be (width, height) of at least 1, got {feat_sizes!r}")
        self.rope_theta = rope_theta
        self.feat_sizes = feat_sizes
        self.compute_cis = partial(compute_axial_cis, dim=head_dim, theta=rope_theta)
        self.rope_k_repeat = rope_k_repeat

    @property
    def freqs_cis(self) -> Tensor:
        """The rotations for `feat_sizes` as complex numbers: [width * height, d / 2]. For reading only."""
        like = next(self.parameters(), torch.empty(0))
        width, height = self.feat_sizes
        return torch.complex(*self._tables((int(width), int(height)), like))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, num_k_exclude_rope: int = 0) -> Tensor:
        """Attend.

        Args:
            q: [B, N, C]
            k: [B, M, K]
            v: [B, M, K]
            num_k_exclude_rope: how many keys at the end have no place and are not rotated.

        Returns:
            What the queries have gathered: [B, N, C].

        Raises:
            ValueError: if the queries form neither the grid `feat_sizes` nor a square, or the keys to be
                rotated are not as many as the queries (a multiple with `rope_k_repeat`).
        """
        queries, keys = q.shape[-2], k.shape[-2]
        size = self._grid(queries)
        rotated_keys = self._count_rotated(queries, keys, num_k_exclude_rope)
        return self._attend_rotated(q, k, v, self._tables(size, q), rotated_keys)

    def _attend_rotated(
        self, q: Tensor, k: Tensor, v: Tensor, cos_sin: tuple[Tensor, Tensor], rotated_keys: int
    ) -> Tensor:
        """Attend, with all queries and the first keys rotated by cosines and sines: [B, N, C]."""
        if self._values_are_narrow(q, k, v):
            return self._gather_narrow(q, k, v, cos_sin, rotated_keys)
        q, k, v = self._project(q, k, v)
        (cos, sin), keys = cos_sin, k.shape[2]
        q = rotate_pairs(q, cos, sin)
        if rotated_keys == keys:
            k = rotate_pairs(k, cos, sin)
        elif rotated_keys:
            k = torch.cat((rotate_pairs(k[:, :, :rotated_keys], cos, sin), k[:, :, rotated_keys:]), dim=2)
        return self._gather(q, k, v)

    def _values_are_narrow(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        """Whether to gather values as they come and to project what was gathered, as for SAM 2's memory."""
        if torch.compiler.is_compiling() or self.num_heads > 1 or self.kv_in_dim >= self.internal_dim:
            return False
        if not q.shape[1] or not k.shape[1] or len(q) != len(k) or k.shape[:2] != v.shape[:2]:
            return False
        if k.dtype != v.dtype:
            return False
        projections = (self.q_proj, self.k_proj, self.v_proj, self.out_proj)
        return all(type(layer) is nn.Linear for layer in projections) and fast_path_allowed(self, q, k, v)

    def _gather_narrow(
        self, q: Tensor, k: Tensor, v: Tensor, cos_sin: tuple[Tensor, Tensor], rotated: int
    ) -> Tensor:
        q, k = linear(self.q_proj, q), linear(self.k_proj, k)
        dtype, wide = q.dtype, at_least_float32(q.dtype)
        with torch.autocast("cpu", enabled=False):
            q, k = q.to(wide), k.to(wide)
            rotate_pairs_(q, *cos_sin)
            if rotated:
                rotate_pairs_(k[:, :rotated], *cos_sin)
            gathered = attend_narrow(q, k, v.to(wide)).to(dtype)
        return linear(self.out_proj, linear(self.v_proj, gathered))

    def _tables(self, size: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        return axial_tables(self.internal_dim // self.num_heads, size, self.rope_theta, like=like)

    def _grid(self, queries: int) -> tuple[int, int]:
        """Find the (width, height) of the queries' grid."""
        width, height = (int(side) for side in self.feat_sizes)
        if width * height == queries:
            return width, height
        side = math.isqrt(queries)
        if side * side == queries:
            return side, side
        raise ValueError(
            f"q has {queries} tokens, which is neither feat_sizes {width} x {height} nor a square number: "
            "set feat_sizes to the (width, height) of the grid"
        )

    def _count_rotated(self, queries: int, keys: int, excluded: int) -> int:
        """Count the keys that are rotated, and see that they fit the queries."""
        if not 0 <= excluded <= keys:
            raise ValueError(f"num_k_exclude_rope must be between 0 and the {keys} keys, got {excluded}")
        rotated = keys - excluded
        if rotated in (0, queries) or (self.rope_k_repeat and queries and rotated % queries == 0):
            return rotated
        allowed = f"a multiple of {queries}" if self.rope_k_repeat else f"{queries} (rope_k_repeat is False)"
        raise ValueError(
            f"k must have {allowed} tokens before the {excluded} of num_k_exclude_rope, got {rotated}"
        )
