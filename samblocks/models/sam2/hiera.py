"""Hiera: the hierarchical image trunk of SAM 2."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from samblocks.blocks import MultiScaleBlock, PatchEmbed
from samblocks.blocks.arguments import checks_arguments
from samblocks.ops.bicubic import resize_bicubic
from samblocks.ops.precision import at_least_float32


@checks_arguments(in_chans="patch_embed.proj.in_channels")
class Hiera(nn.Module):
    """Stages of windowed attention on an ever coarser, ever wider map; a few blocks attend globally.

    Args:
        embed_dim: channels of the first stage.
        num_heads: attention heads of the first stage.
        drop_path_rate: probability of dropping the last block's residual branches in training; it grows
            linearly from 0 at the first block.
        q_pool: how many of the stage transitions halve the map, counted from the first.
        q_stride: (rows, columns) by which a pooling block shrinks the map.
        stages: number of blocks in each stage.
        dim_mul: growth of the channels at each stage transition.
        head_mul: growth of the heads at each stage transition.
        window_pos_embed_bkg_spatial_size: (height, width) of the global position table.
        window_spec: side of the attention windows in each stage, in tokens. The first block of a stage still
            uses the side of the stage before it.
        global_att_blocks: indices, counted over all stages, of blocks that attend to the whole map.
        return_interm_layers: return the map at the end of every stage, not of the last one only.

    Raises:
        ValueError: when `stages` and `window_spec` differ in length, a stage is empty, the first window has
            no size, or there are fewer transitions than `q_pool`.

    Examples:
        >>> trunk = Hiera(embed_dim=16, stages=(1, 1, 2, 1), global_att_blocks=(3,), window_spec=(8, 4, 4, 2))
        >>> [tuple(level.shape) for level in trunk(torch.randn(1, 3, 64, 64))]
        [(1, 16, 16, 16), (1, 32, 8, 8), (1, 64, 4, 4), (1, 128, 2, 2)]
        >>> trunk.channel_list
        [128, 64, 32, 16]

    Upstream: facebookresearch/sam2 sam2/modeling/backbones/hieradet.py
    """

    def __init__(
        self,
        embed_dim: int = 96,
        num_heads: int = 1,
        drop_path_rate: float = 0.0,
        q_pool: int = 3,
        q_stride: tuple[int, int] = (2, 2),
        stages: Sequence[int] = (2, 3, 16, 3),
        dim_mul: float = 2.0,
        head_mul: float = 2.0,
        window_pos_embed_bkg_spatial_size: Sequence[int] = (14, 14),
        window_spec: Sequence[int] = (8, 4, 14, 7),
        global_att_blocks: Sequence[int] = (12, 16, 20),
        return_interm_layers: bool = True,
    ) -> None:
        super().__init__()
        _check_stages(stages, window_spec, q_pool)
        self.window_spec = window_spec
        self.q_stride = q_stride
        self.stage_ends = [sum(stages[: stage + 1]) - 1 for stage in range(len(stages))]
        self.q_pool_blocks = [end + 1 for end in self.stage_ends[:-1]][:q_pool]
        self.return_interm_layers = return_interm_layers
        self.global_att_blocks = global_att_blocks
        self.window_pos_embed_bkg_spatial_size = window_pos_embed_bkg_spatial_size

        height, width = window_pos_embed_bkg_spatial_size
        self.pos_embed = nn.Parameter(torch.zeros(1, embed_dim, height, width))
        self.pos_embed_window = nn.Parameter(torch.zeros(1, embed_dim, window_spec[0], window_spec[0]))
        self.patch_embed = PatchEmbed(kernel_size=(7, 7), stride=(4, 4), padding=(3, 3), embed_dim=embed_dim)

        drop_rates = _drop_path_rates(drop_path_rate, sum(stages))
        self.blocks = nn.ModuleList()
        dim, heads, stage = embed_dim, num_heads, 0
        channels = []
        for index in range(sum(stages)):
            window = 0 if index in global_att_blocks else window_spec[stage]
            dim_out = dim
            if index - 1 in self.stage_ends:  # taken after the window: it lags one block behind the stage
                stage += 1
                dim_out, heads = int(dim * dim_mul), int(heads * head_mul)
            self.blocks.append(
                MultiScaleBlock(
                    dim=dim,
                    dim_out=dim_out,
                    num_heads=heads,
                    drop_path=drop_rates[index],
                    q_stride=q_stride if index in self.q_pool_blocks else None,
                    window_size=window,
                )
            )
            dim = dim_out
            if index in self.stage_ends:
                channels.append(dim)
        self.channel_list = channels[::-1] if return_interm_layers else channels[-1:]

    def _get_pos_embed(self, hw: tuple[int, int]) -> Tensor:
        """Position table for a map of `hw` tokens: the global one resized, plus the window's one repeated.

        Returns:
            [1, H, W, C] in the dtype of the tables.
        """
        height, width = hw
        window = self.pos_embed_window
        rows, columns = window.shape[-2:]
        if height % rows or width % columns:
            raise ValueError(
                f"x: its map of {height} x {width} patches must be a multiple of the first window, "
                f"{rows} x {columns}; the image sides must be multiples of {4 * rows} and {4 * columns} pixels"
            )
        # Cubic weights in half precision would cost more digits than the table has.
        table = self.pos_embed.to(at_least_float32(self.pos_embed.dtype))
        table = resize_bicubic(table, (height, width))
        across = window.repeat(1, 1, 1, width // columns)
        table = (torch.unflatten(table, 2, (-1, rows)) + across[:, :, None]).flatten(2, 3)
        return table.to(window.dtype).permute(0, 2, 3, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode images; both sides must be multiples of four times the first window.

        Args:
            x: [B, in_chans, H, W]

        Returns:
            One map [B, C, H', W'] for each stage end, strides 4, 8, 16, 32 with the usual settings, finest
            first; only the last one when `return_interm_layers` is off.

        Raises:
            ValueError: when the patch grid is no multiple of the first stage's window.
        """
        x = self.patch_embed(x)
        x = x + self._get_pos_embed((x.shape[1], x.shape[2]))
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.stage_ends[-1] or (index in self.stage_ends and self.return_interm_layers):
                levels.append(x.permute(0, 3, 1, 2))
        return levels


def _check_stages(stages: Sequence[int], window_spec: Sequence[int], q_pool: int) -> None:
    if len(stages) != len(window_spec):
        raise ValueError(
            f"window_spec={tuple(window_spec)}: needs one window for each of the {len(stages)} stages"
        )
    if not stages or min(stages) < 1:
        raise ValueError(f"stages={tuple(stages)}: every stage needs at least one block")
    if window_spec[0] < 1:
        raise ValueError(
            f"window_spec={tuple(window_spec)}: the first window is also the size of a position table, "
            "it must be at least 1"
        )
    if not 0 <= q_pool <= len(stages) - 1:
        raise ValueError(
            f"q_pool={q_pool}: must lie between 0 and {len(stages) - 1}, the number of stage transitions"
        )


def _drop_path_rates(rate: float, depth: int) -> list[float]:
    """Rates from 0 to `rate` in equal steps; plain numbers, so that a model can be made on the meta device."""
    return [rate * index / max(depth - 1, 1) for index in range(depth)]
