"""TinyViT's block of windowed attention, under the names of its origin."""

from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn

from samblocks.models.tiny_vit.convs import Conv2d_BN, as_map, make_drop_path
from samblocks.ops.attend import attend
from samblocks.ops.chunking import in_chunks, rows_at_once
from samblocks.ops.eager_attention import Implementation
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.linear import linear
from samblocks.ops.norm import layer_norm
from samblocks.ops.windows import window_partition, window_unpartition


@computes_half_in_float32
class MLP(nn.Module):
    """Norm, two linears, an activation between them.

    Args:
        in_features: channels in.
        hidden_features: channels between; as `in_features` where None.
        out_features: channels out; as `in_features` where None.
        activation: after the first linear.
        drop: dropout after each linear.

    Examples:
        >>> MLP(8, 32)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        activation: type[nn.Module] = nn.GELU,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        hidden = hidden_features or in_features
        self.norm = nn.LayerNorm(in_features)
        self.fc1 = nn.Linear(in_features, hidden)
        self.fc2 = nn.Linear(hidden, out_features or in_features)
        self.act = activation()
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers.

        Args:
            x: [B, N, C].

        Returns:
            [B, N, out_features].
        """
        x = self.drop(self.act(linear(self.fc1, layer_norm(self.norm, x))))
        return cast(Tensor, self.drop(linear(self.fc2, x)))


@computes_half_in_float32
class Attention(nn.Module):
    """Attention within a window, with a learned bias for each distance |dy|, |dx|. Norms its input itself.

    The biases are gathered anew in every call. (Upstream keeps a gathered copy from `eval()` on, which
    weights loaded later do not reach.)

    Args:
        dim: channels.
        key_dim: channels of a head's queries and keys.
        num_heads: heads; the projection holds query, key and value of one head after those of another.
        attn_ratio: a head's value channels over `key_dim`.
        resolution: (height, width) of the window.

    Examples:
        >>> Attention(8, key_dim=4, num_heads=2, attn_ratio=1, resolution=(3, 3))(torch.zeros(2, 9, 8)).shape
        torch.Size([2, 9, 8])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    attention_bias_idxs: Tensor

    implementation: Implementation = "fused"
    """The order of operations: the fused kernel's, or that of the library whose attention it stands for."""

    def __init__(
        self,
        dim: int,
        key_dim: int,
        num_heads: int = 8,
        attn_ratio: float = 4,
        resolution: tuple[int, int] = (14, 14),
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = key_dim**-0.5
        self.key_dim = key_dim
        self.nh_kd = key_dim * num_heads
        self.d = int(attn_ratio * key_dim)
        self.dh = self.d * num_heads
        self.attn_ratio = attn_ratio
        self.resolution = resolution

        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, self.dh + 2 * self.nh_kd)
        self.proj = nn.Linear(self.dh, dim)
        indices, distances = number_distances(resolution)
        self.attention_biases = nn.Parameter(torch.zeros(num_heads, distances))
        self.register_buffer("attention_bias_idxs", torch.tensor(indices), persistent=False)

    def remake(self, device: torch.device) -> None:
        """Make the bias indices, which no checkpoint holds, anew on `device`."""
        indices, _ = number_distances(self.resolution)
        self.attention_bias_idxs = torch.tensor(indices, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each window.

        Args:
            x: [B, N, C], a window in each item.

        Returns:
            [B, N, C].
        """
        batch, tokens, _ = x.shape
        qkv = linear(self.qkv, layer_norm(self.norm, x)).reshape(
            batch, tokens, self.num_heads, 2 * self.key_dim + self.d
        )
        q, k, v = torch.split(qkv.transpose(1, 2), [self.key_dim, self.key_dim, self.d], dim=-1)  # B h N d
        bias = self.attention_biases[:, self.attention_bias_idxs].unsqueeze(0)  # 1 h N N
        out = attend(q, k, v, bias=bias, scale=self.scale, implementation=self.implementation)
        return linear(self.proj, out.transpose(1, 2).reshape(batch, tokens, self.dh))


@computes_half_in_float32
class TinyViTBlock(nn.Module):
    """Windowed attention, a depthwise convolution over the whole map, an MLP.

    A map that the windows do not tile is padded with zeros *before* attention norms it, so the padding
    takes part as the norm's bias.

    Args:
        dim: channels.
        input_resolution: (height, width) of the map.
        num_heads: heads of attention; must divide `dim`.
        window_size: side of the windows.
        mlp_ratio: hidden channels of the MLP over `dim`.
        drop: dropout in the MLP.
        drop_path: share of items, while training, that skip a branch.
        local_conv_size: side of the convolution's kernel.
        activation: of the MLP.

    Raises:
        ValueError: `num_heads` does not divide `dim`, or `window_size` is not positive.

    Examples:
        >>> TinyViTBlock(8, input_resolution=(5, 6), num_heads=2, window_size=3)(torch.zeros(1, 30, 8)).shape
        torch.Size([1, 30, 8])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    def __init__(
        self,
        dim: int,
        input_resolution: tuple[int, int],
        num_heads: int,
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        drop: float = 0.0,
        drop_path: float = 0.0,
        local_conv_size: int = 3,
        activation: type[nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads={num_heads} must divide dim={dim}")
        if window_size < 1:
            raise ValueError(f"window_size={window_size} must be positive")
        self.dim = dim
        self.input_resolution = input_resolution
        self.num_heads = num_heads
        self.window_size = window_size
        self.mlp_ratio = mlp_ratio
        self.drop_path = make_drop_path(drop_path)
        self.attn = Attention(
            dim, dim // num_heads, num_heads, attn_ratio=1, resolution=(window_size, window_size)
        )
        self.mlp = MLP(dim, int(dim * mlp_ratio), activation=activation, drop=drop)
        self.local_conv = Conv2d_BN(dim, dim, local_conv_size, 1, local_conv_size // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: [B, N, C], the map of `input_resolution` row by row.

        Returns:
            [B, N, C].

        Raises:
            ValueError: N is not the number of cells of `input_resolution`.
        """
        grid = as_map(x, self.input_resolution)
        wide = 4 * grid.shape[-1]
        grid = in_chunks(self, self._attend, grid, rows_at_once(grid, wide, self.window_size))
        grid = cast(Tensor, self.local_conv(grid.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        return in_chunks(self, self._feed_forward, grid, rows_at_once(grid, wide)).flatten(1, 2)

    def _attend(self, grid: Tensor) -> Tensor:
        windows, padded = window_partition(grid, self.window_size)
        attended = self.attn(windows.flatten(1, 2)).reshape(windows.shape)
        size = (grid.shape[1], grid.shape[2])
        attended = window_unpartition(attended, self.window_size, padded, size)
        return grid + cast(Tensor, self.drop_path(attended))

    def _feed_forward(self, grid: Tensor) -> Tensor:
        x = grid.flatten(1, 2)
        return (x + cast(Tensor, self.drop_path(self.mlp(x)))).reshape(grid.shape)

    def extra_repr(self) -> str:
        """List what the submodules do not show."""
        return (
            f"dim={self.dim}, input_resolution={self.input_resolution}, num_heads={self.num_heads}, "
            f"window_size={self.window_size}, mlp_ratio={self.mlp_ratio}"
        )


@lru_cache(maxsize=8)
def number_distances(resolution: tuple[int, int]) -> tuple[list[list[int]], int]:
    """Number the distances |dy|, |dx| between the cells of a window, in the order they are first met.

    Args:
        resolution: (height, width) of the window.

    Returns:
        For each pair of cells the number of its distance, and how many distances there are.

    Examples:
        >>> number_distances((1, 3))
        ([[0, 1, 2], [1, 0, 1], [2, 1, 0]], 3)
    """
    height, width = resolution
    cells = [(y, x) for y in range(height) for x in range(width)]
    # Seen from the first cell, every distance occurs, and in the order of the cells themselves.
    return [[abs(y - v) * width + abs(x - u) for v, u in cells] for y, x in cells], len(cells)
