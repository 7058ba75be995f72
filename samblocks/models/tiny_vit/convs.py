"""The convolutional parts of TinyViT, under the names of their origin."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samblocks.blocks import DropPath
from samblocks.ops.chunking import in_chunks_with_margin, rows_at_once
from samblocks.ops.fast_path import folding_allowed
from samblocks.ops.half_precision import computes_half_in_float32

NO_STRIDE_DIMS = (320, 448, 576)  # widths of the last stage in the published models, which keeps its size


class Conv2d_BN(nn.Sequential):
    """A bias-free convolution `c` and a batch norm `bn`.

    Args:
        a: channels in.
        b: channels out.
        ks: side of the kernel.
        stride: of the convolution.
        pad: of the convolution, zeros.
        dilation: of the convolution.
        groups: of the convolution.
        bn_weight_init: what the norm's weight starts at; 0 silences a residual branch.

    Examples:
        >>> import torch
        >>> Conv2d_BN(3, 8, ks=3, stride=2, pad=1)(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 8, 8, 8])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    def __init__(
        self,
        a: int,
        b: int,
        ks: int = 1,
        stride: int = 1,
        pad: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bn_weight_init: float = 1,
    ) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(a, b, ks, stride, pad, dilation, groups, bias=False))
        norm = nn.BatchNorm2d(b)
        nn.init.constant_(norm.weight, bn_weight_init)
        self.add_module("bn", norm)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve and norm: in evaluation the norm is a factor and an addend of each of the convolution's filters.

        Args:
            x: [B, a, H, W].

        Returns:
            [B, b, H', W'].
        """
        if not (_is_as_made(self) and folding_allowed(self, x)):
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]
        conv, norm = cast(nn.Conv2d, self.c), cast(nn.BatchNorm2d, self.bn)
        factor = norm.weight * torch.rsqrt(cast(Tensor, norm.running_var) + norm.eps)
        weight = conv.weight * factor[:, None, None, None]
        bias = norm.bias - cast(Tensor, norm.running_mean) * factor
        return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups)


def _is_as_made(pair: Conv2d_BN) -> bool:
    """Whether nothing was put in the place of convolution or norm, or behind them."""
    if [type(layer) for layer in pair] != [nn.Conv2d, nn.BatchNorm2d]:
        return False
    conv, norm = cast(nn.Conv2d, pair[0]), cast(nn.BatchNorm2d, pair[1])
    return conv.bias is None and conv.padding_mode == "zeros" and norm.affine and norm.track_running_stats


@computes_half_in_float32
class PatchEmbed(nn.Module):
    """TinyViT's stem: two convolutions of stride 2.

    Args:
        in_chans: channels of the image.
        embed_dim: channels of the result; even.
        resolution: side of the image in pixels.
        activation: between the two.

    Examples:
        >>> import torch
        >>> PatchEmbed(3, 8, 64, nn.GELU)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 8, 16, 16])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    def __init__(self, in_chans: int, embed_dim: int, resolution: int, activation: type[nn.Module]) -> None:
        super().__init__()
        side = halved(halved(resolution))
        self.patches_resolution = (side, side)
        self.num_patches = side * side
        self.in_chans = in_chans
        self.embed_dim = embed_dim
        self.seq = nn.Sequential(
            Conv2d_BN(in_chans, embed_dim // 2, 3, 2, 1),
            activation(),
            Conv2d_BN(embed_dim // 2, embed_dim, 3, 2, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Embed images.

        Args:
            x: [B, C, H, W].

        Returns:
            [B, embed_dim, H / 4, W / 4], rounded up.
        """
        return cast(Tensor, self.seq(x))


@computes_half_in_float32
class MBConv(nn.Module):
    """Inverted bottleneck: widen, filter each channel, narrow; the activation follows the residual sum.

    Args:
        in_chans: channels in.
        out_chans: channels out; as many.
        expand_ratio: hidden channels over `in_chans`.
        activation: after each convolution.
        drop_path: share of items, while training, that skip the branch.

    Examples:
        >>> import torch
        >>> MBConv(8, 8, 4.0, nn.GELU, 0.0)(torch.zeros(1, 8, 5, 5)).shape
        torch.Size([1, 8, 5, 5])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        expand_ratio: float,
        activation: type[nn.Module],
        drop_path: float,
    ) -> None:
        super().__init__()
        if in_chans != out_chans:
            raise ValueError(f"out_chans={out_chans} must be in_chans={in_chans}: the input is added")
        hidden = int(expand_ratio * in_chans)
        self.in_chans, self.hidden_chans, self.out_chans = in_chans, hidden, out_chans
        self.conv1, self.act1 = Conv2d_BN(in_chans, hidden), activation()
        self.conv2, self.act2 = Conv2d_BN(hidden, hidden, 3, pad=1, groups=hidden), activation()
        self.conv3, self.act3 = Conv2d_BN(hidden, out_chans, bn_weight_init=0.0), activation()
        self.drop_path = make_drop_path(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block.

        Args:
            x: [B, C, H, W].

        Returns:
            [B, C, H, W].
        """
        grid = x.permute(0, 2, 3, 1)
        step = rows_at_once(grid, self.hidden_chans)
        return in_chunks_with_margin(self, self._convolve, grid, step, margin=1).permute(0, 3, 1, 2)

    def _convolve(self, grid: Tensor) -> Tensor:
        x = grid.permute(0, 3, 1, 2)
        branch = self.conv3(self.act2(self.conv2(self.act1(self.conv1(x)))))
        return cast(Tensor, self.act3(x + self.drop_path(branch))).permute(0, 2, 3, 1)


@computes_half_in_float32
class PatchMerging(nn.Module):
    """Changes the channels and, but for the widths of a last stage (320, 448, 576), halves the map.

    Args:
        input_resolution: (height, width) of the map.
        dim: channels in.
        out_dim: channels out.
        activation: between the convolutions.

    Examples:
        >>> import torch
        >>> PatchMerging((4, 4), 8, 16, nn.GELU)(torch.zeros(1, 16, 8)).shape
        torch.Size([1, 4, 16])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    def __init__(
        self, input_resolution: tuple[int, int], dim: int, out_dim: int, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.input_resolution = input_resolution
        self.dim = dim
        self.out_dim = out_dim
        self.act = activation()
        self.stride = merging_stride(out_dim)
        self.conv1 = Conv2d_BN(dim, out_dim, 1, 1, 0)
        self.conv2 = Conv2d_BN(out_dim, out_dim, 3, self.stride, 1, groups=out_dim)
        self.conv3 = Conv2d_BN(out_dim, out_dim, 1, 1, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Merge patches.

        Args:
            x: [B, C, H, W], or [B, N, C], the map of `input_resolution` row by row.

        Returns:
            [B, N', out_dim].
        """
        if x.dim() == 3:
            x = as_map(x, self.input_resolution).permute(0, 3, 1, 2)
        x = self.conv3(self.act(self.conv2(self.act(self.conv1(x)))))
        return x.flatten(2).transpose(1, 2)


def merging_stride(out_dim: int) -> int:
    """By how much `PatchMerging` shrinks a map that it makes `out_dim` channels wide."""
    return 1 if out_dim in NO_STRIDE_DIMS else 2


def as_map(x: Tensor, resolution: tuple[int, int]) -> Tensor:
    """View tokens [B, N, C] as a map [B, H, W, C].

    Args:
        x: [B, N, C].
        resolution: (H, W).

    Returns:
        [B, H, W, C].

    Raises:
        ValueError: N is not H times W.
    """
    height, width = resolution
    if x.shape[1] != height * width:
        raise ValueError(
            f"x has {x.shape[1]} tokens for input_resolution={resolution}; TinyViT.set_imgsz sets it for "
            "images of another size"
        )
    return x.reshape(len(x), height, width, x.shape[-1])


def make_drop_path(rate: float) -> nn.Module:
    """Make a DropPath, or an Identity for a rate of 0."""
    return DropPath(rate) if rate > 0 else nn.Identity()


def halved(side: int) -> int:
    """What a convolution of stride 2, kernel 3 and padding 1 leaves of a side."""
    return (side + 1) // 2
