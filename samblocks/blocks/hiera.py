"""The transformer block of SAM 2's image encoder, which can halve a map and widen its channels."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.blocks.common import MLP, drop_path_or_nothing
from samblocks.ops.attend import attend
from samblocks.ops.chunking import in_chunks, rows_at_once
from samblocks.ops.eager_attention import Implementation
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.linear import linear
from samblocks.ops.norm import layer_norm
from samblocks.ops.windows import (
    attend_in_windows,
    padding_is_known,
    window_partition,
    window_unpartition,
)

NormLayer = Callable[[int], nn.Module]

# Names of torch.nn that normalize the last axis and take (channels, eps=…).
_NORM_NAMES = ("LayerNorm", "RMSNorm", "Identity")


def do_pool(x: Tensor, pool: nn.Module | None, norm: nn.Module | None = None) -> Tensor:
    """Pool a channels-last map.

    Args:
        x: [B, H, W, C]
        pool: maps [B, C, H, W] to a smaller map; None gives back `x` itself.
        norm: applied after pooling.

    Returns:
        The pooled map: [B, H', W', C].

    Examples:
        >>> import torch
        >>> tuple(do_pool(torch.randn(1, 4, 4, 3), nn.MaxPool2d(2), nn.LayerNorm(3)).shape)
        (1, 2, 2, 3)

    Upstream: facebookresearch/sam2 sam2/modeling/backbones/hieradet.py
    """
    if pool is None:
        return x
    x = pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return x if norm is None else layer_norm(norm, x)


@checks_arguments(C="dim")
@computes_half_in_float32
class MultiScaleAttention(nn.Module):
    """Attention among the pixels of a map, with queries that may be pooled to a smaller map.

    Args:
        dim: channels C of the input.
        dim_out: channels D of the output.
        num_heads: number of heads.
        q_pool: pools the queries, [B, D, H, W] to a smaller map.

    Raises:
        ValueError: if `num_heads` does not divide `dim_out`.

    Examples:
        >>> import torch
        >>> attention = MultiScaleAttention(dim=32, dim_out=64, num_heads=4, q_pool=nn.MaxPool2d(2))
        >>> tuple(attention(torch.randn(1, 16, 12, 32)).shape)
        (1, 8, 6, 64)

    Upstream: facebookresearch/sam2 sam2/modeling/backbones/hieradet.py
    """

    implementation: Implementation = "fused"
    """The order of operations: the fused kernel's, or that of the library whose attention it stands for."""

    def __init__(self, dim: int, dim_out: int, num_heads: int, q_pool: nn.Module | None = None) -> None:
        super().__init__()
        if num_heads < 1 or dim_out % num_heads:
            raise ValueError(f"num_heads must divide dim_out {dim_out}, got {num_heads}")
        self.dim = dim
        self.dim_out = dim_out
        self.num_heads = num_heads
        self.scale = (dim_out // num_heads) ** -0.5
        self.q_pool = q_pool
        self.qkv = nn.Linear(dim, dim_out * 3)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the pixels of a map.

        Args:
            x: [B, H, W, C]

        Returns:
            What the (pooled) queries have gathered: [B, H', W', D].
        """
        return linear(self.proj, self.gather(linear(self.qkv, x)))

    def gather(self, qkv: Tensor) -> Tensor:
        """Attend with queries, keys and values that are projected already.

        Args:
            qkv: [B, H, W, 3 * D]

        Returns:
            What the (pooled) queries gather, not projected: [B, H', W', D].
        """
        batch, height, width, _ = qkv.shape
        head_dim = self.dim_out // self.num_heads
        q, k, v = qkv.reshape(batch, height * width, 3, self.num_heads, head_dim).unbind(2)
        if self.q_pool is not None:
            q = do_pool(q.reshape(batch, height, width, self.dim_out), self.q_pool)
            height, width = q.shape[1:3]
            q = q.reshape(batch, height * width, self.num_heads, head_dim)
        out = attend(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), implementation=self.implementation
        )
        return out.transpose(1, 2).reshape(batch, height, width, self.dim_out)


@checks_arguments(C="dim")
@computes_half_in_float32
class MultiScaleBlock(nn.Module):
    """A transformer block on a map, in windows or global, which may pool the map and widen its channels.

    Windows are padded with zeros after the first norm; the padding takes part in attention. Pooling
    happens inside each window, so that the windows of the output are smaller by the stride.

    Args:
        dim: channels C of the input.
        dim_out: channels D of the output.
        num_heads: number of heads.
        mlp_ratio: channels inside the MLP, as a multiple of `dim_out`.
        drop_path: probability with which a branch is skipped in training.
        norm_layer: "LayerNorm", "RMSNorm" or "Identity", made with eps 1e-6; or what makes a norm for a
            number of channels.
        q_stride: (rows, columns) that are pooled into one; None for no pooling.
        act_layer: makes the MLP's activation.
        window_size: side of the windows in pixels; 0 for attention over the whole map.

    Raises:
        ValueError: if `norm_layer` is an unknown name, `q_stride` is not two positive numbers, or
            `window_size` is negative or does not go with `q_stride`.
        TypeError: if `norm_layer` is a module, not what makes one.

    Examples:
        >>> import torch
        >>> x = torch.randn(1, 56, 56, 64)
        >>> block = MultiScaleBlock(dim=64, dim_out=128, num_heads=4, window_size=7)
        >>> tuple(block(x).shape)  # nothing is pooled without q_stride
        (1, 56, 56, 128)
        >>> block = MultiScaleBlock(dim=64, dim_out=128, num_heads=4, q_stride=(2, 2), window_size=8)
        >>> tuple(block(x).shape)
        (1, 28, 28, 128)

    Upstream: facebookresearch/sam2 sam2/modeling/backbones/hieradet.py
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        norm_layer: NormLayer | str = "LayerNorm",
        q_stride: tuple[int, int] | None = None,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        window_size: int = 0,
    ) -> None:
        super().__init__()
        make_norm = _norm_maker(norm_layer)
        _check_windows(window_size, q_stride)
        self.dim = dim
        self.dim_out = dim_out
        self.norm1 = make_norm(dim)
        self.window_size = window_size
        self.pool = nn.MaxPool2d(kernel_size=q_stride, stride=q_stride) if q_stride is not None else None
        self.q_stride = q_stride
        self.attn = MultiScaleAttention(dim, dim_out, num_heads=num_heads, q_pool=self.pool)
        self.drop_path = drop_path_or_nothing(drop_path)
        self.norm2 = make_norm(dim_out)
        hidden = int(dim_out * mlp_ratio)
        self.mlp = MLP(dim_out, hidden, dim_out, num_layers=2, act=act_layer)
        if dim != dim_out:
            self.proj = nn.Linear(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map.

        Args:
            x: [B, H, W, C]

        Returns:
            The transformed map, pooled by `q_stride`: [B, H', W', D].

        Raises:
            ValueError: if the map is smaller than `q_stride`, or the windows do not line up with the pooled
                map. They always do if `window_size` is a multiple of the stride.
        """
        if self.q_stride is not None and (x.shape[1] < self.q_stride[0] or x.shape[2] < self.q_stride[1]):
            raise ValueError(
                f"x must be at least q_stride {tuple(self.q_stride)} high and wide, "
                f"but its shape is {tuple(x.shape)}"
            )
        return in_chunks(self, self._transform, x, self._rows_at_once(x))

    def _rows_at_once(self, x: Tensor) -> int:
        """How many rows go through the whole block at a time: windows do not look at each other."""
        stride = 1 if self.q_stride is None else self.q_stride[0]
        if not self.window_size or self.window_size % stride or x.shape[1] % stride:
            return x.shape[1]
        return rows_at_once(x, 4 * self.dim_out, self.window_size)

    def _transform(self, x: Tensor) -> Tensor:
        shortcut = x
        x = layer_norm(self.norm1, x)
        if self.dim != self.dim_out:
            # Where the channels widen, the shortcut too starts from the normed map.
            shortcut = linear(self.proj, x)
        shortcut = do_pool(shortcut, self.pool)
        x = self._attend_in_windows(x) if self.window_size > 0 else self.attn(x)
        x = shortcut + self.drop_path(x)
        out: Tensor = x + self.drop_path(self.mlp(layer_norm(self.norm2, x)))
        return out

    def _attend_in_windows(self, x: Tensor) -> Tensor:
        """Cut into windows, attend (and pool) in each, put together again: [B, H', W', D]."""
        height, width = x.shape[1:3]
        attn = self.attn
        if (
            type(attn) is MultiScaleAttention
            and self.pool is None
            and padding_is_known(self, attn.qkv, x, self.window_size)
        ):
            return attend_in_windows(attn.qkv, attn.gather, attn.proj, x, self.window_size)
        windows, (padded_h, padded_w) = window_partition(x, self.window_size)
        windows = self.attn(windows)
        if self.q_stride is None:
            return window_unpartition(windows, self.window_size, (padded_h, padded_w), (height, width))
        stride, side = self.q_stride[0], self.window_size // self.q_stride[0]
        rows, columns = padded_h // self.window_size, padded_w // self.window_size
        pooled_h, pooled_w = height // stride, width // stride
        # Windows of odd size lose a row each, so that only some maps are covered again by what remains.
        if self.window_size % stride and (-(-pooled_h // side), -(-pooled_w // side)) != (rows, columns):
            raise ValueError(
                f"window_size {self.window_size} with q_stride {tuple(self.q_stride)} does not fit a map of "
                f"{height} x {width}: take a window_size that is a multiple of {stride}"
            )
        return window_unpartition(windows, side, (rows * side, columns * side), (pooled_h, pooled_w))


def _norm_maker(norm_layer: NormLayer | str) -> NormLayer:
    if isinstance(norm_layer, nn.Module):
        raise TypeError(
            f"norm_layer must make a norm for a number of channels, but is itself one: {norm_layer}"
        )
    if not isinstance(norm_layer, str):
        return norm_layer
    if norm_layer not in _NORM_NAMES:
        raise ValueError(f"norm_layer must be one of {_NORM_NAMES} or make a norm, got {norm_layer!r}")
    return partial(getattr(nn, norm_layer), eps=1e-6)


def _check_windows(window_size: int, q_stride: tuple[int, int] | None) -> None:
    if window_size < 0:
        raise ValueError(f"window_size must be 0 (the whole map) or positive, got {window_size}")
    if q_stride is None:
        return
    if not isinstance(q_stride, tuple | list) or len(q_stride) != 2 or min(q_stride) < 1:
        raise ValueError(f"q_stride must be two positive numbers or None, got {q_stride!r}")
    if window_size and (q_stride[0] != q_stride[1] or window_size < q_stride[0]):
        raise ValueError(
            f"q_stride must be two equal numbers of at most window_size {window_size}, got {tuple(q_stride)}"
        )
