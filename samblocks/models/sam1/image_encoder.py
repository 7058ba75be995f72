"""The image encoder of SAM 1: a plain vision transformer with windowed and a few global blocks."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samblocks.blocks import Block, LayerNorm2d, PatchEmbed
from samblocks.blocks.arguments import checks_arguments
from samblocks.image_size import ImageSize, image_sides
from samblocks.ops.half_precision import call_in_float32


@checks_arguments(in_chans="patch_embed.proj.in_channels")
class ImageEncoderViT(nn.Module):
    """Vision transformer that turns an image into one map of features at a sixteenth of its size.

    Patches get a learned absolute position, run through `depth` blocks (attention inside windows, except
    in the blocks listed as global, which see the whole map) and leave through a neck of two bias-free
    convolutions. There is no norm between the last block and the neck.

    An input of another size than `img_size` is accepted: the position table is then resized by nearest
    neighbours, as Ultralytics does (Meta's class raises), and the blocks interpolate their relative
    tables. Rows and columns that do not fill a patch are left out, as a strided convolution does.

    Args:
        img_size: side, in pixels, of the square image that the position tables are made for; or its height and
            width.
        patch_size: side of a patch, in pixels.
        in_chans: channels of the image.
        embed_dim: channels inside the transformer.
        depth: number of blocks.
        num_heads: attention heads of each block.
        mlp_ratio: hidden channels of each block's MLP, over `embed_dim`.
        out_chans: channels of the result.
        qkv_bias: whether the query, key and value projections have a bias.
        norm_layer: makes the norms inside the blocks; the released models use an eps of 1e-6.
        act_layer: activation of the MLPs.
        use_abs_pos: whether there is an absolute position table (`pos_embed`, else None).
        use_rel_pos: whether attention has decomposed relative positions.
        window_size: side of the windows, in patches; 0 makes every block global.
        global_attn_indexes: the blocks that attend globally; numbers beyond `depth` have no effect.

    Raises:
        ValueError: `img_size` holds no whole patch.

    Examples:
        >>> encoder = ImageEncoderViT(img_size=64, embed_dim=32, depth=2, num_heads=2, out_chans=8,
        ...                           use_rel_pos=True, window_size=3, global_attn_indexes=(1,))
        >>> encoder(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 8, 4, 4])

    Upstream: facebookresearch/segment-anything segment_anything/modeling/image_encoder.py
    """

    pos_embed: nn.Parameter | None

    def __init__(
        self,
        img_size: ImageSize = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        out_chans: int = 256,
        qkv_bias: bool = True,
        norm_layer: Callable[[int], nn.Module] = nn.LayerNorm,
        act_layer: type[nn.Module] = nn.GELU,
        use_abs_pos: bool = True,
        use_rel_pos: bool = False,
        window_size: int = 0,
        global_attn_indexes: Sequence[int] = (),
    ) -> None:
        super().__init__()
        sides = image_sides(img_size, "img_size")
        if not 0 < patch_size <= min(sides):
            raise ValueError(f"patch_size={patch_size} must be between 1 and img_size={img_size}")
        self.img_size = max(sides)
        self.patch_size = patch_size
        height, width = (side // patch_size for side in sides)
        self.patch_embed = PatchEmbed(
            kernel_size=(patch_size, patch_size),
            stride=(patch_size, patch_size),
            padding=(0, 0),
            in_chans=in_chans,
            embed_dim=embed_dim,
        )
        self.pos_embed = nn.Parameter(torch.zeros(1, height, width, embed_dim)) if use_abs_pos else None
        self.blocks = nn.ModuleList(
            Block(
                dim=embed_dim,
                num_heads=num_heads,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                norm_layer=norm_layer,
                act_layer=act_layer,
                use_rel_pos=use_rel_pos,
                window_size=0 if i in global_attn_indexes else window_size,
                input_size=(height, width),
            )
            for i in range(depth)
        )
        self.neck = make_neck(embed_dim, out_chans)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of normalised images.

        Args:
            x: [B, in_chans, H, W], mean and deviation already taken out.

        Returns:
            [B, out_chans, H // patch_size, W // patch_size].

        Raises:
            ValueError: `x` has not four axes or is smaller than a patch.
        """
        return self._encode(x, None)

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Do what `forward` does, and return what the global blocks gave, too.

        Args:
            x: as for `forward`.

        Returns:
            The result of `forward`, and a map [B, H // patch_size, W // patch_size, embed_dim] after each block
            that has no windows.
        """
        maps: list[Tensor] = []
        return self._encode(x, maps), maps

    def _encode(self, x: Tensor, maps: list[Tensor] | None) -> Tensor:
        if x.dim() != 4 or min(x.shape[-2:]) < self.patch_size:
            raise ValueError(
                f"x must be [B, C, H, W] with H and W of at least patch_size={self.patch_size}, "
                f"got shape {tuple(x.shape)}"
            )
        x = self.patch_embed(x)  # B H W C from here to the neck
        if self.pos_embed is not None:
            x = x + _resized_nearest(self.pos_embed, (x.shape[1], x.shape[2]))
        for block in self.blocks:
            x = block(x)
            if maps is not None and not cast(Block, block).window_size:
                maps.append(x)
        return call_in_float32(self.neck, x.permute(0, 3, 1, 2))


def make_neck(in_chans: int, out_chans: int) -> nn.Sequential:
    """Make the bias-free 1x1 and 3x3 convolutions, each with a norm, that end SAM 1's image encoders.

    Args:
        in_chans: channels of the trunk.
        out_chans: channels of the result.

    Returns:
        Four modules, in the order of the state dict; a [B, C, H, W] map keeps its size.

    Examples:
        >>> make_neck(32, 8)(torch.zeros(1, 32, 4, 4)).shape
        torch.Size([1, 8, 4, 4])

    Upstream: facebookresearch/segment-anything segment_anything/modeling/image_encoder.py
    """
    return nn.Sequential(
        nn.Conv2d(in_chans, out_chans, kernel_size=1, bias=False),
        LayerNorm2d(out_chans),
        nn.Conv2d(out_chans, out_chans, kernel_size=3, padding=1, bias=False),
        LayerNorm2d(out_chans),
    )


def _resized_nearest(table: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a [1, H, W, C] table to `size`; the table itself where it fits."""
    if (table.shape[1], table.shape[2]) == size:
        return table
    return F.interpolate(table.permute(0, 3, 1, 2), size=size, mode="nearest").permute(0, 2, 3, 1)
