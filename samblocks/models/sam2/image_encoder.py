"""The image encoder of SAM 2: a trunk, and a neck that brings its levels to one width."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samblocks.blocks import PositionEmbeddingSine
from samblocks.blocks.arguments import checks_arguments
from samblocks.ops.fast_path import folding_allowed
from samblocks.ops.half_precision import call_in_float32
from samblocks.ops.precision import at_least_float32


@checks_arguments()
class FpnNeck(nn.Module):
    """Feature pyramid neck: a lateral convolution per level, coarse levels added to finer ones.

    Args:
        d_model: channels of every level that comes out.
        backbone_channel_list: channels of the levels that come in, **coarsest first** (the trunk's
            `channel_list`); `forward` takes the levels themselves finest first.
        kernel_size: side of the lateral convolutions.
        stride: stride of the lateral convolutions.
        padding: padding of the lateral convolutions.
        fpn_interp_model: how a coarse level is doubled in size: "nearest", "bilinear" or "bicubic".
        fuse_type: "sum" or "avg" of a lateral map and the doubled coarser one.
        fpn_top_down_levels: levels (0 is the finest) that receive the coarser one; all when None.
        position_encoding: module that turns a map into its position encoding; a sine encoding of 256 channels
            when None.

    Raises:
        ValueError: for an unknown `fuse_type` or `fpn_interp_model`.

    Examples:
        >>> import torch
        >>> neck = FpnNeck(d_model=8, backbone_channel_list=[32, 16], fpn_interp_model="nearest")
        >>> maps, encodings = neck([torch.randn(1, 16, 8, 8), torch.randn(1, 32, 4, 4)])
        >>> [tuple(level.shape) for level in maps], [tuple(encoding.shape) for encoding in encodings]
        ([(1, 8, 8, 8), (1, 8, 4, 4)], [(1, 256, 8, 8), (1, 256, 4, 4)])

    Upstream: facebookresearch/sam2 sam2/modeling/backbones/image_encoder.py
    """

    widens_top_down = False
    """Whether a coarser level is added in at least float32, which the sum then has: so does Meta's neck."""

    def __init__(
        self,
        d_model: int,
        backbone_channel_list: Sequence[int],
        kernel_size: int = 1,
        stride: int = 1,
        padding: int = 0,
        fpn_interp_model: str = "bilinear",
        fuse_type: str = "sum",
        fpn_top_down_levels: Sequence[int] | None = None,
        *,
        position_encoding: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if fuse_type not in ("sum", "avg"):
            raise ValueError(f"fuse_type={fuse_type!r}: must be 'sum' or 'avg'")
        if fpn_interp_model not in ("nearest", "bilinear", "bicubic"):
            raise ValueError(
                f"fpn_interp_model={fpn_interp_model!r}: must be 'nearest', 'bilinear' or 'bicubic'"
            )
        self.position_encoding = position_encoding or PositionEmbeddingSine(num_pos_feats=256)
        self.convs = nn.ModuleList()
        self.backbone_channel_list = backbone_channel_list
        self.d_model = d_model
        for channels in backbone_channel_list:
            level = nn.Sequential()
            level.add_module("conv", nn.Conv2d(channels, d_model, kernel_size, stride, padding))
            self.convs.append(level)
        self.fpn_interp_model = fpn_interp_model
        self.fuse_type = fuse_type
        if fpn_top_down_levels is None:
            fpn_top_down_levels = range(len(self.convs))
        self.fpn_top_down_levels = list(fpn_top_down_levels)

    def forward(self, xs: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Bring the trunk's levels to one width, coarse ones added to finer ones.

        Args:
            xs: one map [B, C, H, W] per level, finest first.

        Returns:
            The maps [B, C, H, W], of `d_model` channels, and their position encodings, both finest first and in
            the dtype of the convolutions' results.

        Raises:
            ValueError: when the number of levels, or of their channels, is not that of `backbone_channel_list`, or a
                level that receives the coarser one is not twice as high and wide.
        """
        return self.fuse(xs, {})

    def fuse(
        self, xs: Sequence[Tensor], projections: Mapping[int, nn.Conv2d]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Do what `forward` does, and project some levels further, by 1 x 1 convolutions.

        Args:
            xs: as for `forward`.
            projections: by level, 0 being the finest; of levels that neither receive another nor are received, for
                which both convolutions become one.

        Returns:
            As `forward`, the levels named projected.
        """
        if len(xs) != len(self.convs):
            raise ValueError(f"xs: has {len(xs)} levels, must have {len(self.convs)}")
        for number, (x, lateral) in enumerate(zip(xs, reversed(self.convs), strict=True)):
            channels = getattr(getattr(lateral, "conv", None), "in_channels", None)
            if x.dim() != 4 or (channels is not None and x.shape[1] != channels):
                raise ValueError(
                    f"xs: level {number} must be [B, {channels or 'C'}, H, W], got the shape {tuple(x.shape)}"
                )
        maps: list[Tensor] = []
        coarser: Tensor | None = None
        for level, lateral_conv in zip(reversed(range(len(xs))), self.convs, strict=True):
            if level in projections:
                maps.append(_both(lateral_conv.get_submodule("conv"), projections[level], xs[level]))
                coarser = None
                continue
            fused = call_in_float32(lateral_conv, xs[level])
            if coarser is not None and level in self.fpn_top_down_levels:
                doubled = self._double(coarser)
                if doubled.shape[-2:] != fused.shape[-2:]:
                    raise ValueError(
                        f"xs: level {level} has the height and width {tuple(fused.shape[-2:])}, and not twice "
                        f"those of level {level + 1}, {tuple(coarser.shape[-2:])}"
                    )
                fused = fused + doubled
                if self.fuse_type == "avg":
                    fused = fused / 2
            coarser = fused
            maps.append(fused)
        maps.reverse()
        return maps, [self.position_encoding(x).to(x.dtype) for x in maps]

    def stands_alone(self, level: int) -> bool:
        """Whether a level, 0 being the finest, neither receives another one nor is received."""
        conv = getattr(self.convs[len(self.convs) - 1 - level], "conv", None)
        given = level - 1 in self.fpn_top_down_levels and level > 0
        return type(conv) is nn.Conv2d and level not in self.fpn_top_down_levels and not given

    def _double(self, x: Tensor) -> Tensor:
        """Twice the height and width, in the dtype that is kept, or at least in float32."""
        if self.widens_top_down:
            x = x.to(at_least_float32(x.dtype))
        align_corners = None if self.fpn_interp_model == "nearest" else False
        return F.interpolate(x, scale_factor=2.0, mode=self.fpn_interp_model, align_corners=align_corners)


@checks_arguments(in_chans="trunk.patch_embed.proj.in_channels")
class ImageEncoder(nn.Module):
    """Trunk and neck of SAM 2 in one module.

    Args:
        trunk: module from images to a list of maps, finest first, with a `channel_list` (coarsest first).
        neck: module from these maps to maps of one width and their position encodings.
        scalp: how many of the coarsest levels are thrown away; SAM 2 drops one.

    Raises:
        ValueError: when trunk and neck disagree on the channels of the levels.

    Examples:
        >>> import torch
        >>> from samblocks.models import FpnNeck, Hiera
        >>> trunk = Hiera(embed_dim=16, stages=(1, 1, 2, 1), global_att_blocks=(3,), window_spec=(8, 4, 4, 2))
        >>> encoder = ImageEncoder(trunk, FpnNeck(256, trunk.channel_list), scalp=1)
        >>> encoded = encoder(torch.randn(1, 3, 64, 64))
        >>> tuple(encoded["vision_features"].shape), len(encoded["backbone_fpn"])
        ((1, 256, 4, 4), 3)

    Upstream: facebookresearch/sam2 sam2/modeling/backbones/image_encoder.py
    """

    def __init__(self, trunk: nn.Module, neck: nn.Module, scalp: int = 0) -> None:
        super().__init__()
        trunk_channels, neck_channels = list(trunk.channel_list), list(neck.backbone_channel_list)  # type: ignore[arg-type]
        if trunk_channels != neck_channels:
            raise ValueError(
                f"neck: its backbone_channel_list {neck_channels} must be the trunk's "
                f"channel_list {trunk_channels}"
            )
        if not 0 <= scalp < len(neck_channels):
            raise ValueError(f"scalp={scalp}: must leave at least one of {len(neck_channels)} levels")
        self.trunk = trunk
        self.neck = neck
        self.scalp = scalp

    def forward(self, sample: Tensor) -> dict[str, Tensor | list[Tensor]]:
        """Encode a batch of normalised images.

        Args:
            sample: [B, in_chans, H, W]

        Returns:
            "vision_features", the coarsest kept map [B, C, H, W]; "vision_pos_enc", the position encodings of the
            kept levels; "backbone_fpn", their maps; both lists finest first.
        """
        return self._levels(*self.neck(self.trunk(sample)))

    def forward_projected(
        self, sample: Tensor, *projections: nn.Conv2d
    ) -> dict[str, Tensor | list[Tensor]] | None:
        """Do what `forward` does, with the levels before the coarsest kept one projected by 1 x 1 convolutions.

        Args:
            sample: [B, in_chans, H, W]
            *projections: one for each of as many levels, finest first.

        Returns:
            As `forward`, with these levels projected; None where that would be noticed, or changes more than sums.
        """
        neck, parts = self.neck, nn.ModuleList([self, *projections])
        if torch.compiler.is_compiling() or type(self) is not ImageEncoder or type(neck) is not FpnNeck:
            return None
        first = len(neck.convs) - self.scalp - 1 - len(projections)
        levels = dict(enumerate(projections, start=first))
        if first < 0 or not all(neck.stands_alone(level) for level in levels):
            return None
        plain = all(type(conv) is nn.Conv2d and conv.kernel_size == (1, 1) for conv in projections)
        parts.training = False
        if not plain or self._compiled_call_impl is not None or not folding_allowed(parts, sample):
            return None
        return self._levels(*neck.fuse(self.trunk(sample), levels))

    def _levels(self, maps: list[Tensor], encodings: list[Tensor]) -> dict[str, Tensor | list[Tensor]]:
        if self.scalp > 0:
            maps, encodings = maps[: -self.scalp], encodings[: -self.scalp]
        return {"vision_features": maps[-1], "vision_pos_enc": encodings, "backbone_fpn": maps}


def encode_and_project(
    encoder: nn.Module, sample: Tensor, finest: nn.Conv2d, fine: nn.Conv2d
) -> dict[str, Any]:
    """Encode images and project the two levels before the coarsest.

    Args:
        encoder: `ImageEncoder`, or what stands in its place.
        sample: [B, in_chans, H, W]
        finest: 1 x 1, for the level two before the coarsest kept one.
        fine: 1 x 1, for the one before it.

    Returns:
        What the encoder gives, with two levels projected.
    """
    if isinstance(encoder, ImageEncoder):
        projected = encoder.forward_projected(sample, finest, fine)
        if projected is not None:
            return dict(projected)
    encoded: dict[str, Any] = dict(encoder(sample))
    *unused, high, middle, coarsest = encoded["backbone_fpn"]
    encoded["backbone_fpn"] = [
        *unused,
        call_in_float32(finest, high),
        call_in_float32(fine, middle),
        coarsest,
    ]
    return encoded


def _both(first: nn.Module, second: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution and after it one of 1 x 1, as one: their weights are multiplied in float64."""
    assert isinstance(first, nn.Conv2d)
    outer = second.weight.double().flatten(1)
    weight = (outer @ first.weight.double().flatten(1)).view(-1, *first.weight.shape[1:])
    bias = None if second.bias is None else second.bias.double()
    if first.bias is not None:
        inner = outer @ first.bias.double()
        bias = inner if bias is None else bias + inner
    bias = None if bias is None else bias.to(x.dtype)
    return F.conv2d(x, weight.to(x.dtype), bias, first.stride, first.padding)
