"""transformers' blocks of SAM 2's image encoder by the reference page's names and calls."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from parity.execution.case import NoCounterpart
from parity.references.common.adapter import Adapter, Arguments
from parity.references.common.prefixes import part
from parity.references.transformers import names

Kwargs = Mapping[str, Any]


def _hiera_config(**settings: Any) -> Any:
    from transformers import Sam2HieraDetConfig

    config = Sam2HieraDetConfig(**settings)
    config._attn_implementation = "sdpa"
    return config


def hiera_config(kwargs: Kwargs) -> Any:
    """The configuration of the trunk that the reference page's Hiera describes."""
    given = Arguments(kwargs)
    given.only("drop_path_rate", 0.0)
    given.only("return_interm_layers", True)
    width, heads = given.take("embed_dim", 96), given.take("num_heads", 1)
    stages = given.take("stages", (2, 3, 16, 3))
    growth, more_heads = given.take("dim_mul", 2.0), given.take("head_mul", 2.0)
    config = _hiera_config(
        hidden_size=width,
        num_attention_heads=heads,
        query_stride=list(given.take("q_stride", (2, 2))),
        window_positional_embedding_background_size=list(
            given.take("window_pos_embed_bkg_spatial_size", (14, 14))
        ),
        num_query_pool_stages=given.take("q_pool", 3),
        blocks_per_stage=list(stages),
        embed_dim_per_stage=[int(width * growth**i) for i in range(len(stages))],
        num_attention_heads_per_stage=[int(heads * more_heads**i) for i in range(len(stages))],
        window_size_per_stage=list(given.take("window_spec", (8, 4, 14, 7))),
        global_attention_blocks=list(given.take("global_att_blocks", (12, 16, 20))),
    )
    given.end()
    return config


def hiera(kwargs: Kwargs) -> nn.Module:
    """See the reference page's Hiera."""
    from transformers.models.sam2.modeling_sam2 import Sam2HieraDetModel

    def call(inner: Any, x: Tensor) -> Any:
        return [level.permute(0, 3, 1, 2) for level in inner(x).intermediate_hidden_states]

    return Adapter(Sam2HieraDetModel(hiera_config(kwargs)), names.HIERA, call, kwargs)


def _neck_settings(kwargs: Kwargs) -> dict[str, Any]:
    given = Arguments(kwargs)
    given.only("fuse_type", "sum")
    width, encodings = given.take("d_model"), given.take("position_encoding")
    if given.take("fpn_interp_model", "bilinear") != "nearest":
        raise NoCounterpart("repeats pixels from level to level, this case interpolates them")
    if (256 if encodings is None else encodings.kwargs["num_pos_feats"]) != width:
        raise NoCounterpart("has position encodings as wide as the levels only")
    if encodings is not None and set(encodings.kwargs) > {"num_pos_feats"}:
        raise NoCounterpart("has position encodings with the released settings only")
    channels = list(given.take("backbone_channel_list"))
    levels = given.take("fpn_top_down_levels")
    settings = {
        "backbone_channel_list": channels,
        "fpn_hidden_size": width,
        "fpn_kernel_size": given.take("kernel_size", 1),
        "fpn_stride": given.take("stride", 1),
        "fpn_padding": given.take("padding", 0),
        "fpn_top_down_levels": list(range(len(channels))) if levels is None else list(levels),
    }
    given.end()
    return settings


def neck(kwargs: Kwargs) -> nn.Module:
    """See the reference page's FpnNeck."""
    from transformers import Sam2VisionConfig
    from transformers.models.sam2.modeling_sam2 import Sam2VisionNeck

    def call(inner: nn.Module, maps: list[Tensor]) -> Any:
        levels, encodings = inner([level.permute(0, 2, 3, 1) for level in maps])
        return list(reversed(levels)), list(reversed(encodings))

    inner = Sam2VisionNeck(Sam2VisionConfig(**_neck_settings(kwargs)))
    return Adapter(inner, names.NECK, call, kwargs)


def vision_config(kwargs: Kwargs) -> Any:
    """The configuration of the image encoder that the reference page's ImageEncoder describes."""
    from transformers import Sam2VisionConfig

    given = Arguments(kwargs)
    settings = _neck_settings(given.take("neck").kwargs)
    scalp = given.take("scalp", 0)
    if scalp != 1:
        raise NoCounterpart("leaves out the coarsest level always, this case keeps it")
    config = Sam2VisionConfig(
        backbone_config=hiera_config(given.take("trunk").kwargs),
        num_feature_levels=len(settings["backbone_channel_list"]) - scalp,
        **settings,
    )
    config._attn_implementation = "sdpa"
    given.end()
    return config


def image_encoder(kwargs: Kwargs) -> nn.Module:
    """See the reference page's ImageEncoder."""
    from transformers.models.sam2.modeling_sam2 import Sam2VisionModel

    def call(inner: Any, x: Tensor) -> Any:
        found = inner(x)
        # It lists levels from the coarsest; the reference page from the finest.
        levels = sorted(found.fpn_hidden_states, key=lambda level: -level.shape[-1])
        encodings = sorted(found.fpn_position_encoding, key=lambda level: -level.shape[-1])
        return {"vision_features": levels[-1], "vision_pos_enc": encodings, "backbone_fpn": levels}

    return Adapter(Sam2VisionModel(vision_config(kwargs)), names.IMAGE_ENCODER, call, kwargs)


def sine(kwargs: Kwargs) -> nn.Module:
    """See the reference page's PositionEmbeddingSine."""
    from transformers.models.sam2.modeling_sam2 import Sam2SinePositionEmbedding

    given = Arguments(kwargs)
    inner = Sam2SinePositionEmbedding(
        given.take("num_pos_feats") // 2,
        temperature=given.take("temperature", 10000),
        normalize=given.take("normalize", True),
        scale=given.take("scale"),
    )
    given.end()

    def call(inner: nn.Module, x: Tensor) -> Any:
        return inner(x.shape, x.device, x.dtype)

    return Adapter(inner, (), call, kwargs)


def random_encoding(kwargs: Kwargs) -> nn.Module:
    """See the reference page's PositionEmbeddingRandom, without the grid, which the whole model makes here."""
    from transformers import Sam2PromptEncoderConfig
    from transformers.models.sam2.modeling_sam2 import Sam2PositionalEmbedding

    given = Arguments(kwargs)
    scale = given.take("scale")
    if scale is not None and not (scale > 0 and scale == int(scale)):
        raise NoCounterpart("takes whole positive numbers as the scale of its matrix only")
    config = Sam2PromptEncoderConfig(hidden_size=2 * given.take("num_pos_feats", 64), scale=int(scale or 1))
    given.end()

    def refuse(inner: nn.Module, *args: Any) -> Any:
        raise NoCounterpart("makes the grid's encoding in the whole model only")

    return Adapter(
        Sam2PositionalEmbedding(config),
        (part("positional_embedding", "positional_encoding_gaussian_matrix"),),
        refuse,
        kwargs,
        forward_with_coords=lambda inner, points, size: inner(points.unsqueeze(1), size).squeeze(1),
        _pe_encoding=lambda inner, coords: inner(coords),
    )


def window_unpartition(windows: Tensor, window_size: int, pad_hw: Any, hw: Any) -> Tensor:
    """See the reference page's window_unpartition."""
    joined: Tensor = _modeling("window_unpartition")(windows, window_size, pad_hw, hw)
    return joined


def _modeling(name: str) -> Callable[..., Any]:
    import transformers.models.sam2.modeling_sam2 as modeling

    found: Callable[..., Any] = getattr(modeling, name)
    return found


BUILDERS = {
    "Hiera": hiera,
    "FpnNeck": neck,
    "ImageEncoder": image_encoder,
    "PositionEmbeddingSine": sine,
    "PositionEmbeddingRandom": random_encoding,
}
"""The reference page's blocks → the functions that make transformers'."""

FUNCTIONS: dict[str, Callable[[], Callable[..., Any]]] = {
    "window_partition": lambda: _modeling("window_partition"),
    "window_unpartition": lambda: window_unpartition,
}
"""The reference page's functions → how to get transformers'."""
