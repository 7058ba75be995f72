"""The image encoders of transformers' SAM models: ours, called the way transformers calls its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from samblocks import models
from samblocks.swap.catalog import home
from samblocks.swap.hosts.reading import made, read, reader
from samblocks.swap.hosts.transformers_blocks import plain_sine
from samblocks.swap.hosts.transformers_settings import check_extras, refuse


class _Outputs:
    """A class of transformers for what a module returns, found in the module where the host's class is."""

    _host_module: str
    _output_class: str

    def _returned(self, return_dict: bool | None, **fields: Any) -> Any:
        if return_dict is False:
            return tuple(fields.values())
        return getattr(sys.modules[self._host_module], self._output_class)(**fields)


def _captures(host_config: Any, kwargs: dict[str, Any]) -> None:
    for name in ("output_hidden_states", "output_attentions"):
        asked = kwargs.get(name)
        refuse(**{name: asked if asked is not None else getattr(host_config, name, None)})


class VisionEncoder(_Outputs, models.ImageEncoderViT):
    """SAM's image encoder."""

    _output_class = "SamVisionEncoderOutput"
    config: Any

    def forward(self, pixel_values: Tensor, return_dict: bool | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Encode images [B, 3, H, W] of the size that the model is made for."""
        _captures(self.config, kwargs)
        return self._returned(return_dict, last_hidden_state=super().forward(pixel_values))


@reader("transformers.VisionEncoder")
def vision_encoder(host: Any) -> nn.Module:
    """Sizes from the tables; its layers are read one by one."""
    check_extras(host)
    conv = host.patch_embed.projection
    ours = made(
        VisionEncoder,
        img_size=host.image_size,
        patch_size=conv.kernel_size[0],
        in_chans=conv.in_channels,
        embed_dim=conv.out_channels,
        depth=0,
        num_heads=1,
        out_chans=host.neck.conv1.out_channels,
        use_abs_pos=host.pos_embed is not None,
    )
    ours._host_module = home(host)
    ours.blocks.extend(read(layer) for layer in host.layers)
    return ours


class HieraDetModel(_Outputs, models.Hiera):
    """SAM 2's trunk; maps come out with their channels last."""

    _output_class = "Sam2HieraDetModelOutput"
    config: Any

    def forward(self, pixel_values: Tensor, return_dict: bool | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Encode images [B, 3, H, W]."""
        _captures(self.config, kwargs)
        levels = tuple(level.permute(0, 2, 3, 1) for level in super().forward(pixel_values))
        return self._returned(return_dict, last_hidden_state=levels[-1], intermediate_hidden_states=levels)


def plain_hiera(host: Any, kind: type[models.Hiera] = models.Hiera) -> nn.Module:
    """Stages from where they end; every block is read on its own."""
    ends, config = list(host.stage_ends), host.config
    ours = made(
        kind,
        embed_dim=int(host.pos_embed.shape[1]),
        q_pool=config.num_query_pool_stages,
        q_stride=tuple(config.query_stride),
        stages=[last - first for first, last in zip([-1, *ends[:-1]], ends, strict=True)],
        window_pos_embed_bkg_spatial_size=tuple(host.pos_embed.shape[-2:]),
        window_spec=[int(host.pos_embed_window.shape[-1]), *config.window_size_per_stage[1:]],
        global_att_blocks=tuple(config.global_attention_blocks),
    )
    ours.blocks = nn.ModuleList(read(block) for block in host.blocks)
    ours.channel_list = [block.dim_out for place, block in enumerate(host.blocks) if place in ends][::-1]
    return ours


@reader("transformers.HieraDetModel")
def hiera(host: Any) -> nn.Module:
    """Stages from where they end; every block is read on its own."""
    check_extras(host)
    ours: Any = plain_hiera(host, HieraDetModel)
    ours._host_module = home(host)
    trunk: nn.Module = ours
    return trunk


class VisionNeck(models.FpnNeck):
    """SAM 2's neck: maps with channels last come in, the coarsest of what comes out stands first."""

    def forward(self, hidden_states: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:  # type: ignore[override]
        """Bring maps [B, H, W, C], finest first, to one width."""
        maps, encodings = super().forward([level.permute(0, 3, 1, 2) for level in hidden_states])
        return tuple(maps[::-1]), tuple(encodings[::-1])


def plain_neck(host: Any, kind: type[models.FpnNeck] = models.FpnNeck) -> nn.Module:
    """Widths; transformers doubles by nearest neighbours and adds. Its convolutions have no name of their own."""
    return made(
        kind,
        d_model=host.convs[0].out_channels,
        backbone_channel_list=[conv.in_channels for conv in host.convs],
        fpn_interp_model="nearest",
        fpn_top_down_levels=host.fpn_top_down_levels,
        position_encoding=plain_sine(host.position_encoding),
    )


@reader("transformers.VisionNeck")
def neck(host: Any) -> nn.Module:
    """Widths and levels."""
    return plain_neck(host, VisionNeck)


class VisionModel(_Outputs, models.ImageEncoder):
    """SAM 2's image encoder."""

    _output_class = "Sam2VisionEncoderOutput"
    config: Any
    num_feature_levels: int

    def forward(self, pixel_values: Tensor, return_dict: bool | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """Encode images [B, 3, H, W]."""
        _captures(self.config, kwargs)
        levels = self.trunk(pixel_values)
        maps, encodings = self.neck(levels.intermediate_hidden_states)
        kept = self.num_feature_levels
        return self._returned(
            return_dict,
            last_hidden_state=levels.last_hidden_state,
            fpn_hidden_states=maps[::-1][:kept],
            fpn_position_encoding=encodings[::-1][:kept],
        )


@reader("transformers.VisionModel")
def vision_model(host: Any) -> nn.Module:
    """Trunk and neck, each on its own."""
    check_extras(host)
    ours = made(VisionModel, trunk=hiera(host.backbone), neck=neck(host.neck))
    ours._host_module = home(host)
    return ours
