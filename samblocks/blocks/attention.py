"""Attention between two sets of tokens."""

import torch
from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.ops.attend import attend, merge_heads, split_heads
from samblocks.ops.attend_few import gather_from_few, gather_from_many, spread, worth_folding
from samblocks.ops.eager_attention import Implementation
from samblocks.ops.fast_path import folding_allowed
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.linear import linear


@checks_arguments(C="embedding_dim", K="kv_in_dim")
@computes_half_in_float32
class Attention(nn.Module):
    """Attention of queries to keys and values, with projections that may narrow the channels.

    Args:
        embedding_dim: channels C of queries and output.
        num_heads: number of heads h.
        downsample_rate: how many times fewer channels the heads share.
        kv_in_dim: channels K of keys and values; `embedding_dim` if None.
        dropout: probability with which an attention weight is dropped in training.

    Raises:
        ValueError: if `num_heads` does not divide `embedding_dim // downsample_rate`, or `dropout` is no
            probability.

    Examples:
        >>> import torch
        >>> attention = Attention(32, num_heads=4, downsample_rate=2)
        >>> q, k = torch.randn(1, 5, 32), torch.randn(1, 9, 32)
        >>> tuple(attention(q, k, v=k).shape)
        (1, 5, 32)

    Upstream: facebookresearch/sam2 sam2/modeling/sam/transformer.py
    """

    implementation: Implementation = "fused"
    """The order of operations: the fused kernel's, or that of the library whose attention it stands for."""

    def __init__(
        self,
        embedding_dim: int,
        num_heads: int,
        downsample_rate: int = 1,
        kv_in_dim: int | None = None,
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.kv_in_dim = kv_in_dim if kv_in_dim is not None else embedding_dim
        self.internal_dim = embedding_dim // downsample_rate
        self.num_heads = num_heads
        if num_heads < 1 or self.internal_dim % num_heads:
            raise ValueError(
                f"num_heads must divide embedding_dim // downsample_rate = {self.internal_dim}, got {num_heads}"
            )
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"dropout must be between 0 and 1, got {dropout}")
        self.dropout_p = dropout
        inner = self.internal_dim
        self.q_proj = nn.Linear(embedding_dim, inner)
        self.k_proj = nn.Linear(self.kv_in_dim, inner)
        self.v_proj = nn.Linear(self.kv_in_dim, inner)
        self.out_proj = nn.Linear(inner, embedding_dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend.

        Args:
            q: [B, N, C]
            k: [B, M, K]
            v: [B, M, K]

        Returns:
            What the queries have gathered: [B, N, C].
        """
        if self._few_meet_many(q, k, v):
            return self._project_the_few(q, k, v)
        q, k, v = self._project(q, k, v)
        return self._gather(q, k, v)

    def _few_meet_many(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        """Whether one side has so few tokens that projections of the other had better be applied to it."""
        if torch.compiler.is_compiling() or not len(q) == len(k) > 0 or k.shape[:2] != v.shape[:2]:
            return False
        few, many = sorted((q.shape[1], k.shape[1]))
        if few == many or not worth_folding(few, many, self.num_heads, self.internal_dim):
            return False
        return self._has_plain_projections() and folding_allowed(self, q, k, v)

    def _has_plain_projections(self) -> bool:
        projections = (self.q_proj, self.k_proj, self.v_proj, self.out_proj)
        return all(type(layer) is nn.Linear and layer.bias is not None for layer in projections)

    def _project_the_few(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads = self.num_heads
        if q.shape[1] < k.shape[1]:
            queries = split_heads(linear(self.q_proj, q), heads)
            gathered = gather_from_many(queries, k, v, self.k_proj.weight, self.v_proj.weight)
            return linear(self.out_proj, merge_heads(gathered) + self.v_proj.bias)
        keys, values = split_heads(linear(self.k_proj, k), heads), split_heads(linear(self.v_proj, v), heads)
        return gather_from_few(
            q, keys, values, self.q_proj.weight, self.q_proj.bias, self.out_proj.weight, self.out_proj.bias
        )

    def _project(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project and split into heads: [B, h, N, d], twice [B, h, M, d]."""
        return (
            split_heads(linear(self.q_proj, q), self.num_heads),
            split_heads(linear(self.k_proj, k), self.num_heads),
            split_heads(linear(self.v_proj, v), self.num_heads),
        )

    def _gather(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend with projected heads and project what was gathered: [B, N, C]."""
        out = attend(
            q, k, v, dropout_p=self.dropout_p if self.training else 0.0, implementation=self.implementation
        )
        return linear(self.out_proj, merge_heads(out))

    def project_keys(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Project keys and values that all items of a batch share, [1, M, K] each, to heads [1, h, M, d]."""
        return split_heads(linear(self.k_proj, k), self.num_heads), split_heads(
            linear(self.v_proj, v), self.num_heads
        )

    def project_queries(self, q: Tensor) -> Tensor:
        """Project queries that all items of a batch share, [1, N, C], to heads [1, h, N, d]."""
        return split_heads(linear(self.q_proj, q), self.num_heads)

    def gather_shared(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Let the queries [B, N, C] of all items gather from shared keys and values, [1, h, M, d]: [B, N, C]."""
        heads = split_heads(linear(self.q_proj, q).flatten(0, 1).unsqueeze(0), self.num_heads)
        return linear(self.out_proj, merge_heads(attend(heads, k, v)).view(*q.shape[:2], -1))

    def spread_shared(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Let shared queries [1, h, N, d] gather from the keys and values [B, M, K] of each item: [B, N, C]."""
        keys, values = self.project_keys(k, v)
        batch, heads, few, width = keys.shape
        many = q.shape[2]
        if not (worth_folding(few, many, heads, self.internal_dim) and self._has_plain_projections()):
            return self._gather(q.expand(batch, -1, -1, -1), keys, values)
        scores = keys.new_empty(batch, heads, few, many)
        for item in range(batch):
            torch.matmul(keys[item] * width**-0.5, q[0].mT, out=scores[item])
        return spread(scores, values, self.out_proj.weight, self.out_proj.bias)
