"""The stages of TinyViT: blocks of one kind, and the step to the next stage."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from samblocks.models.tiny_vit.blocks import TinyViTBlock
from samblocks.models.tiny_vit.convs import MBConv, PatchMerging
from samblocks.ops.half_precision import computes_half_in_float32


@computes_half_in_float32
class ConvLayer(nn.Module):
    """The first stage: `MBConv` blocks, then the step to the next stage.

    Args:
        dim: channels.
        input_resolution: (height, width) of the map.
        depth: number of blocks.
        activation: of the blocks.
        drop_path: rate of every block, or one for each.
        downsample: class of the step to the next stage, or None.
        use_checkpoint: whether blocks are run again in the backward pass, to save memory.
        out_dim: channels of the next stage; as `dim` where None.
        conv_expand_ratio: hidden channels of the blocks over `dim`.

    Examples:
        >>> ConvLayer(8, (4, 4), 1, nn.GELU, downsample=PatchMerging, out_dim=16)(torch.zeros(1, 8, 4, 4)).shape
        torch.Size([1, 4, 16])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    def __init__(
        self,
        dim: int,
        input_resolution: tuple[int, int],
        depth: int,
        activation: type[nn.Module],
        drop_path: float | Sequence[float] = 0.0,
        downsample: type[PatchMerging] | None = None,
        use_checkpoint: bool = False,
        out_dim: int | None = None,
        conv_expand_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.input_resolution = input_resolution
        self.depth = depth
        self.use_checkpoint = use_checkpoint
        self.blocks = nn.ModuleList(
            MBConv(dim, dim, conv_expand_ratio, activation, rate)
            for rate in _rate_per_block(drop_path, depth)
        )
        self.downsample: PatchMerging | None = None
        if downsample is not None:
            self.downsample = downsample(input_resolution, dim, out_dim or dim, activation)

    def forward(self, x: Tensor) -> Tensor:
        """Run the stage.

        Args:
            x: [B, C, H, W].

        Returns:
            [B, N, out_dim], or [B, C, H, W] without `downsample`.
        """
        x = _run(self.blocks, x, self.use_checkpoint)
        return x if self.downsample is None else cast(Tensor, self.downsample(x))


@computes_half_in_float32
class BasicLayer(nn.Module):
    """A later stage: `TinyViTBlock` blocks, then the step to the next stage.

    Args:
        dim: channels.
        input_resolution: (height, width) of the map.
        depth: number of blocks.
        num_heads: heads of attention.
        window_size: side of the windows.
        mlp_ratio: hidden channels of the MLPs over `dim`.
        drop: dropout in the MLPs.
        drop_path: rate of every block, or one for each.
        downsample: class of the step to the next stage, or None.
        use_checkpoint: whether blocks are run again in the backward pass, to save memory.
        local_conv_size: side of the depthwise kernels.
        activation: of the blocks and the step.
        out_dim: channels of the next stage; as `dim` where None.

    Examples:
        >>> BasicLayer(8, (4, 4), depth=1, num_heads=2, window_size=3)(torch.zeros(1, 16, 8)).shape
        torch.Size([1, 16, 8])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    def __init__(
        self,
        dim: int,
        input_resolution: tuple[int, int],
        depth: int,
        num_heads: int,
        window_size: int,
        mlp_ratio: float = 4.0,
        drop: float = 0.0,
        drop_path: float | Sequence[float] = 0.0,
        downsample: type[PatchMerging] | None = None,
        use_checkpoint: bool = False,
        local_conv_size: int = 3,
        activation: type[nn.Module] = nn.GELU,
        out_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.input_resolution = input_resolution
        self.depth = depth
        self.use_checkpoint = use_checkpoint
        self.blocks = nn.ModuleList(
            TinyViTBlock(
                dim=dim,
                input_resolution=input_resolution,
                num_heads=num_heads,
                window_size=window_size,
                mlp_ratio=mlp_ratio,
                drop=drop,
                drop_path=rate,
                local_conv_size=local_conv_size,
                activation=activation,
            )
            for rate in _rate_per_block(drop_path, depth)
        )
        self.downsample: PatchMerging | None = None
        if downsample is not None:
            self.downsample = downsample(input_resolution, dim, out_dim or dim, activation)

    def forward(self, x: Tensor) -> Tensor:
        """Run the stage.

        Args:
            x: [B, N, C], the map of `input_resolution` row by row.

        Returns:
            [B, N', out_dim].
        """
        x = _run(self.blocks, x, self.use_checkpoint)
        return x if self.downsample is None else cast(Tensor, self.downsample(x))

    def extra_repr(self) -> str:
        """List what the submodules do not show."""
        return f"dim={self.dim}, input_resolution={self.input_resolution}, depth={self.depth}"


def _run(blocks: nn.ModuleList, x: Tensor, use_checkpoint: bool) -> Tensor:
    for block in blocks:
        if use_checkpoint and torch.is_grad_enabled():
            # The second run happens in the backward pass; it updates the batch norms' averages once more.
            from torch.utils.checkpoint import checkpoint

            x = cast(Tensor, checkpoint(block, x, use_reentrant=False))
        else:
            x = block(x)
    return x


def _rate_per_block(drop_path: float | Sequence[float], depth: int) -> list[float]:
    return list(drop_path) if isinstance(drop_path, Sequence) else [drop_path] * depth
