"""The convolutional blocks of SAM 2's memory encoder."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samblocks.blocks.arguments import checks_arguments
from samblocks.blocks.common import LayerNorm2d, drop_path_or_nothing
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.linear import linear
from samblocks.ops.precision import at_least_float32


@checks_arguments()
@computes_half_in_float32
class MaskDownSampler(nn.Module):
    """Shrink a mask step by step while its channels grow, to the size and width of the image features.

    Args:
        embed_dim: channels D of the output.
        kernel_size: side of each convolution's kernel.
        stride: how many times each convolution shrinks.
        padding: pixels of zeros around the input of each convolution.
        total_stride: how many times the mask shrinks in all, a power of `stride`.
        activation: makes the activations.
        interpol_size: (height, width) that masks are resized to first; None leaves them.

    Raises:
        ValueError: if `total_stride` is no power of `stride`, or `interpol_size` is not two numbers.

    Examples:
        >>> tuple(MaskDownSampler(embed_dim=256, total_stride=16)(torch.randn(1, 1, 256, 192)).shape)
        (1, 256, 16, 12)

    Upstream: facebookresearch/sam2 sam2/modeling/memory_encoder.py
    """

    def __init__(
        self,
        embed_dim: int = 256,
        kernel_size: int = 4,
        stride: int = 4,
        padding: int = 0,
        total_stride: int = 16,
        activation: Callable[[], nn.Module] = nn.GELU,
        interpol_size: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if stride < 2:
            raise ValueError(f"stride must be at least 2, got {stride}")
        steps, reached = 0, 1
        while reached < total_stride:
            steps, reached = steps + 1, reached * stride
        if reached != total_stride:
            raise ValueError(f"total_stride must be a power of stride {stride}, got {total_stride}")
        self.encoder = nn.Sequential()
        channels = 1
        for _ in range(steps):
            wider = channels * stride**2
            self.encoder.append(nn.Conv2d(channels, wider, kernel_size, stride=stride, padding=padding))
            self.encoder.append(LayerNorm2d(wider))
            self.encoder.append(activation())
            channels = wider
        self.encoder.append(nn.Conv2d(channels, embed_dim, kernel_size=1))
        self.interpol_size: list[int] | None = None
        if interpol_size is not None:
            if not isinstance(interpol_size, list | tuple) or len(interpol_size) != 2:
                raise ValueError(f"interpol_size must be (height, width) or None, got {interpol_size!r}")
            self.interpol_size = list(interpol_size)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a mask.

        Args:
            x: [B, 1, H, W], the mask; one of bool or integers takes the dtype of the weights

        Returns:
            The encoded mask, h = H / total_stride: [B, D, h, w].
        """
        if not x.is_floating_point():
            x = x.to(next(self.encoder.parameters()).dtype)
        if self.interpol_size is not None and self.interpol_size != list(x.shape[-2:]):
            resized = F.interpolate(
                x.to(at_least_float32(x.dtype)),
                size=self.interpol_size,
                mode="bilinear",
                align_corners=False,
                antialias=True,
            )
            x = resized.to(x.dtype)
        out: Tensor = self.encoder(x)
        return out


@checks_arguments(C="dwconv.in_channels")
@computes_half_in_float32
class CXBlock(nn.Module):
    """A ConvNeXt block: a wide convolution per channel, then an MLP per pixel, scaled and added.

    Args:
        dim: channels C.
        kernel_size: side of the convolution's kernel.
        padding: pixels of zeros around the map; must keep its size.
        drop_path: probability with which the branch is skipped in training.
        layer_scale_init_value: what the scale of each channel begins at; none is used if not positive.
        use_dwconv: whether the convolution treats each channel on its own.

    Examples:
        >>> tuple(CXBlock(dim=64)(torch.randn(2, 64, 20, 30)).shape)
        (2, 64, 20, 30)

    Upstream: facebookresearch/sam2 sam2/modeling/memory_encoder.py
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 7,
        padding: int = 3,
        drop_path: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        use_dwconv: bool = True,
    ) -> None:
        super().__init__()
        self.gamma: nn.Parameter | None = None
        if layer_scale_init_value > 0:
            self.gamma = nn.Parameter(torch.full((dim,), float(layer_scale_init_value)))
        groups, hidden = dim if use_dwconv else 1, 4 * dim
        self.dwconv = nn.Conv2d(dim, dim, kernel_size, padding=padding, groups=groups)
        self.norm = LayerNorm2d(dim)
        self.pwconv1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(hidden, dim)
        self.drop_path = drop_path_or_nothing(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map.

        Args:
            x: [B, C, H, W]

        Returns:
            The transformed map: [B, C, H, W].

        Raises:
            ValueError: if kernel size and padding do not keep the size of the map.
        """
        branch = self.dwconv(x)
        if branch.shape != x.shape:
            raise ValueError(
                f"kernel_size and padding must keep the size of x, {tuple(x.shape)}, but the convolution "
                f"gives {tuple(branch.shape)}: padding must be (kernel_size - 1) / 2"
            )
        branch = self.norm(branch).permute(0, 2, 3, 1)
        branch = linear(self.pwconv2, self.act(linear(self.pwconv1, branch)))
        if self.gamma is not None:
            branch = self.gamma * branch
        out: Tensor = x + self.drop_path(branch.permute(0, 3, 1, 2))
        return out


@checks_arguments(C="layers.0.dwconv.in_channels")
@computes_half_in_float32
class Fuser(nn.Module):
    """A row of copies of one layer, after a projection if wanted.

    Args:
        layer: what is copied; the instance itself is not used.
        num_layers: number of copies.
        dim: channels C of the projection.
        input_projection: whether a 1 x 1 convolution comes first.

    Raises:
        ValueError: if `input_projection` is set without `dim`.

    Examples:
        >>> from samblocks.blocks import CXBlock
        >>> fuser = Fuser(CXBlock(dim=256), num_layers=3, dim=256, input_projection=True)
        >>> tuple(fuser(torch.randn(1, 256, 32, 32)).shape)
        (1, 256, 32, 32)

    Upstream: facebookresearch/sam2 sam2/modeling/memory_encoder.py
    """

    def __init__(
        self, layer: nn.Module, num_layers: int, dim: int | None = None, input_projection: bool = False
    ) -> None:
        super().__init__()
        if input_projection and dim is None:
            raise ValueError("dim must be given if input_projection is True, got None")
        self.proj = nn.Conv2d(dim, dim, kernel_size=1) if input_projection and dim else nn.Identity()
        self.layers = nn.ModuleList(copy.deepcopy(layer) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        """Transform a map.

        Args:
            x: [B, C, H, W]

        Returns:
            The transformed map: [B, C, H, W].
        """
        x = self.proj(x)
        for layer in self.layers:
            x = layer(x)
        return x
