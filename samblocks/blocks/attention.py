"""Attention between two sets of tokens."""

from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.ops.attend import attend, merge_heads, split_heads
from samblocks.ops.eager_attention import Implementation
from samblocks.ops.linear import linear


@checks_arguments(C="embedding_dim", K="kv_in_dim")
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
        q, k, v = self._project(q, k, v)
        return self._gather(q, k, v)

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
