"""One layer of SAM 2's memory attention."""

from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.blocks.rope import RoPEAttention
from samblocks.ops.chunking import in_chunks, rows_at_once
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.linear import linear
from samblocks.ops.norm import layer_norm


@checks_arguments(C="d_model", K="cross_attn_image.kv_in_dim")
@computes_half_in_float32
class MemoryAttentionLayer(nn.Module):
    """Attention of a frame's pixels among themselves, to the memory, and an MLP, each normed before.

    Args:
        d_model: channels C of the frame.
        dim_feedforward: channels inside the MLP.
        dropout: probability with which values are dropped in training, after each step and inside the MLP.
        pos_enc_at_attn: whether encodings are added to queries and keys of the self attention.
        pos_enc_at_cross_attn_keys: whether encodings are added to the memory as keys.
        pos_enc_at_cross_attn_queries: whether encodings are added to the queries of the memory.
        self_attn: attention among the pixels; `RoPEAttention` with one head if None.
        cross_attn: attention to the memory; `RoPEAttention` with one head, for memories of 64 channels
            and of several frames, if None.

    Examples:
        >>> import torch
        >>> layer = MemoryAttentionLayer(d_model=32, dim_feedforward=64).eval()
        >>> frame, memory = torch.randn(1, 16, 32), torch.randn(1, 2 * 16 + 4, 64)
        >>> tuple(layer(frame, memory, pos=torch.randn(1, 36, 64), num_k_exclude_rope=4).shape)
        (1, 16, 32)

    Upstream: facebookresearch/sam2 sam2/modeling/memory_attention.py
    """

    def __init__(
        self,
        d_model: int = 256,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        pos_enc_at_attn: bool = False,
        pos_enc_at_cross_attn_keys: bool = True,
        pos_enc_at_cross_attn_queries: bool = False,
        self_attn: nn.Module | None = None,
        cross_attn: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.d_model, self.dim_feedforward, self.dropout_value = d_model, dim_feedforward, dropout
        self.pos_enc_at_attn = pos_enc_at_attn
        self.pos_enc_at_cross_attn_keys = pos_enc_at_cross_attn_keys
        self.pos_enc_at_cross_attn_queries = pos_enc_at_cross_attn_queries
        if self_attn is None:
            self_attn = RoPEAttention(d_model, 1)
        if cross_attn is None:
            cross_attn = RoPEAttention(d_model, 1, kv_in_dim=64, rope_k_repeat=True)
        # From here on the order is that of the tensors in `state_dict()`.
        self.self_attn = self_attn
        self.cross_attn_image = cross_attn
        self.linear1 = nn.Linear(d_model, dim_feedforward)
        self.dropout = nn.Dropout(dropout)
        self.linear2 = nn.Linear(dim_feedforward, d_model)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(d_model) for _ in range(3))
        self.dropout1, self.dropout2, self.dropout3 = (nn.Dropout(dropout) for _ in range(3))
        self.activation = nn.ReLU()

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        pos: Tensor | None = None,
        query_pos: Tensor | None = None,
        num_k_exclude_rope: int = 0,
    ) -> Tensor:
        """Let a frame attend to itself and to the memory.

        Args:
            tgt: [B, N, C], the frame's pixels
            memory: [B, M, K], pixels of earlier frames, then object pointers
            pos: [B, M, K], encoding of the memory
            query_pos: [B, N, C], encoding of the frame's pixels
            num_k_exclude_rope: how many tokens at the end of the memory are object pointers, which have
                no place in the image.

        Returns:
            The frame's pixels: [B, N, C].

        Raises:
            ValueError: if `num_k_exclude_rope` is given to a cross attention without rotary encoding.
        """
        tgt = self.forward_self_attention(tgt, query_pos)
        return self.forward_cross_attention(tgt, memory, pos, query_pos, num_k_exclude_rope)

    def forward_self_attention(self, tgt: Tensor, query_pos: Tensor | None = None) -> Tensor:
        """Do the first step of `forward` alone, which knows of no memory: [B, N, C]."""
        out: Tensor = tgt + self.dropout1(self._attend_to_itself(layer_norm(self.norm1, tgt), query_pos))
        return out

    def forward_cross_attention(
        self,
        tgt: Tensor,
        memory: Tensor,
        pos: Tensor | None = None,
        query_pos: Tensor | None = None,
        num_k_exclude_rope: int = 0,
    ) -> Tensor:
        """Do the steps of `forward` that come after the self attention: [B, N, C]."""
        queries = _add(layer_norm(self.norm2, tgt), query_pos, self.pos_enc_at_cross_attn_queries)
        keys = _add(memory, pos, self.pos_enc_at_cross_attn_keys)
        tgt = tgt + self.dropout2(self._attend_to_memory(queries, keys, memory, num_k_exclude_rope))
        return self._feed_forward(tgt)

    def _feed_forward(self, x: Tensor) -> Tensor:
        return in_chunks(self, self._transform, x, rows_at_once(x[:, :, None], self.dim_feedforward))

    def _transform(self, x: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(linear(self.linear1, layer_norm(self.norm3, x))))
        out: Tensor = x + self.dropout3(linear(self.linear2, hidden))
        return out

    def _attend_to_itself(self, normed: Tensor, query_pos: Tensor | None) -> Tensor:
        placed = _add(normed, query_pos, self.pos_enc_at_attn)
        out: Tensor = self.self_attn(placed, placed, normed)
        return out

    def _attend_to_memory(self, queries: Tensor, keys: Tensor, memory: Tensor, excluded: int) -> Tensor:
        out: Tensor
        if isinstance(self.cross_attn_image, RoPEAttention):
            out = self.cross_attn_image(queries, keys, memory, num_k_exclude_rope=excluded)
        elif excluded > 0:
            raise ValueError(
                f"num_k_exclude_rope must be 0 for a cross attention that is no RoPEAttention, got {excluded}"
            )
        else:
            out = self.cross_attn_image(queries, keys, memory)
        return out


def _add(x: Tensor, encoding: Tensor | None, wanted: bool) -> Tensor:
    return x + encoding if wanted and encoding is not None else x
