"""transformers' blocks of SAM 2's memory by the reference page's names and calls."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parity.execution.case import NoCounterpart
from parity.references.common.adapter import Adapter, Arguments, activation_name
from parity.references.transformers import names

Kwargs = Mapping[str, Any]


def _config(**settings: Any) -> Any:
    from transformers import Sam2VideoConfig

    config = Sam2VideoConfig(**settings)
    config._attn_implementation = "sdpa"
    return config


def _rope_settings(given: Arguments) -> dict[str, Any]:
    theta = given.take("rope_theta", 10000.0)
    if theta != 10000.0:
        raise NoCounterpart("takes the base of the angles from the whole model's configuration")
    return {
        "memory_attention_hidden_size": given.take("embedding_dim"),
        "memory_attention_num_attention_heads": given.take("num_heads"),
        "memory_attention_downsample_rate": given.take("downsample_rate", 1),
        "memory_attention_rope_feat_sizes": list(given.take("feat_sizes", (32, 32))),
        "memory_attention_rope_dropout": given.take("dropout", 0.0),
    }


def _angles(config: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines for the announced grid, from transformers' own module."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoVisionRotaryEmbedding

    columns, rows = config.memory_attention_rope_feat_sizes
    if columns * rows != like.shape[-2]:
        raise NoCounterpart("rotates the announced grid only")
    place = torch.arange(columns * rows)
    found: tuple[Tensor, Tensor] = Sam2VideoVisionRotaryEmbedding(config)(
        like, torch.stack([place % columns, place // columns], dim=-1)
    )
    return found


def rope_attention(kwargs: Kwargs) -> nn.Module:
    """See the reference page's RoPEAttention."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoRoPEAttention

    given = Arguments(kwargs)
    config = _config(**_rope_settings(given))
    inner = Sam2VideoRoPEAttention(
        config, kv_in_dim=given.take("kv_in_dim"), rope_k_repeat=given.take("rope_k_repeat", False)
    )
    given.end()

    def call(inner: nn.Module, q: Tensor, k: Tensor, v: Tensor, num_k_exclude_rope: int = 0) -> Any:
        found = inner(
            q.unsqueeze(1),
            k.unsqueeze(1),
            v.unsqueeze(1),
            position_embeddings=_angles(config, q),
            num_k_exclude_rope=num_k_exclude_rope,
        )
        return found[0].squeeze(1)

    return Adapter(inner, names.attention("o_proj"), call, kwargs)


def _layer_settings(kwargs: Kwargs) -> dict[str, Any]:
    """The configuration of a layer, from the reference page's arguments and those of the attention given to it."""
    given = Arguments(kwargs)
    for name, value in (
        ("pos_enc_at_attn", False),
        ("pos_enc_at_cross_attn_keys", True),
        ("pos_enc_at_cross_attn_queries", False),
    ):
        given.only(name, value)
    width = given.take("d_model", 256)
    own, cross = given.take("self_attn"), given.take("cross_attn")
    settings: dict[str, Any] = {
        "memory_attention_feed_forward_hidden_size": given.take("dim_feedforward", 2048),
        "memory_attention_dropout": given.take("dropout", 0.1),
    }
    if own is None and cross is None:
        attention = {"embedding_dim": width, "num_heads": 1}
    else:
        attention, wide = _of_rotation(own), dict(_of_rotation(cross))
        if wide.pop("kv_in_dim", width) != 64:
            raise NoCounterpart("has memory 64 wide, whatever its configuration says")
        if not wide.pop("rope_k_repeat", False) or wide != attention:
            raise NoCounterpart("has one configuration for the attention to itself and to the memory")
    given.end()
    return {**settings, **_rope_settings(Arguments(attention))}


def _of_rotation(attention: Any) -> dict[str, Any]:
    if type(getattr(attention, "inner", None)).__name__ != "Sam2VideoRoPEAttention":
        raise NoCounterpart("has attention with rotation only")
    return {"feat_sizes": (32, 32), **attention.kwargs}


def memory_attention_layer(kwargs: Kwargs) -> nn.Module:
    """See the reference page's MemoryAttentionLayer."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryAttentionLayer

    config = _config(**_layer_settings(kwargs))

    def call(
        inner: nn.Module,
        tgt: Tensor,
        memory: Tensor,
        pos: Tensor,
        query_pos: Tensor,
        num_k_exclude_rope: int = 0,
    ) -> Any:
        config.memory_attention_rope_feat_sizes = _grid(tgt.shape[1])
        found = inner(
            queries=tgt.unsqueeze(1),
            keys=memory.unsqueeze(1),
            key_point_embedding=pos.unsqueeze(1),
            rope_position_embeddings=_angles(config, tgt),
            num_k_exclude_rope=num_k_exclude_rope,
        )
        return (found[0] if isinstance(found, tuple) else found).squeeze(1)

    inner = Sam2VideoMemoryAttentionLayer(config)
    return Adapter(inner, names.MEMORY_ATTENTION_LAYER, call, kwargs)


def _grid(tokens: int) -> list[int]:
    side = round(tokens**0.5)
    if side * side != tokens:
        raise NoCounterpart("rotates square grids only")
    return [side, side]


def memory_attention_settings(kwargs: Kwargs) -> dict[str, Any]:
    """What a configuration says of the memory attention that the reference page's class describes."""
    given = Arguments(kwargs)
    given.only("pos_enc_at_input", True)
    given.only("batch_first", True)
    settings = _layer_settings(given.take("layer").kwargs)
    if "self_attn" not in kwargs["layer"].kwargs:
        settings["memory_attention_rope_feat_sizes"] = [4, 4]  # the released layer takes what it is given
    given.take("d_model")
    settings["memory_attention_num_layers"] = given.take("num_layers")
    given.end()
    return settings


def attend(
    inner: Any, curr: Any, memory: Tensor, curr_pos: Any, memory_pos: Tensor, num_obj_ptr_tokens: int = 0
) -> Tensor:
    """The reference page's call on a memory attention of transformers."""
    if isinstance(curr, list):
        raise NoCounterpart("takes one level, not a list of them")
    columns, rows = inner.config.memory_attention_rope_feat_sizes
    if curr.shape[0] != columns * rows:
        raise NoCounterpart("rotates the announced grid only")
    found = inner(
        current_vision_features=curr,
        memory=memory,
        current_vision_position_embeddings=curr_pos,
        memory_posision_embeddings=memory_pos,
        num_object_pointer_tokens=num_obj_ptr_tokens,
    )
    return attended(found)


def attended(found: Tensor) -> Tensor:
    """What memory attention gives, as the reference page has it: [N, B, C]."""
    return found.squeeze(0).transpose(0, 1)


def memory_attention(kwargs: Kwargs) -> nn.Module:
    """See the reference page's MemoryAttention."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryAttention

    inner = Sam2VideoMemoryAttention(_config(**memory_attention_settings(kwargs)))
    return Adapter(inner, names.MEMORY_ATTENTION, attend, kwargs)


def _down_sampler_settings(kwargs: Kwargs) -> tuple[dict[str, Any], int]:
    given = Arguments(kwargs)
    given.only("interpol_size", None)
    stride, total = given.take("stride", 4), given.take("total_stride", 16)
    settings = {
        "mask_downsampler_embed_dim": given.take("embed_dim", 256),
        "mask_downsampler_kernel_size": given.take("kernel_size", 4),
        "mask_downsampler_stride": stride,
        "mask_downsampler_padding": given.take("padding", 0),
        "mask_downsampler_total_stride": total,
        "mask_downsampler_hidden_act": activation_name(given.take("activation", nn.GELU)),
    }
    given.end()
    steps = 0
    while stride ** (steps + 1) <= total:
        steps += 1
    return settings, steps


def _cx_settings(kwargs: Kwargs) -> dict[str, Any]:
    given = Arguments(kwargs)
    given.only("use_dwconv", True)
    given.only("drop_path", 0.0)
    dim, scale = given.take("dim"), given.take("layer_scale_init_value", 1e-6)
    if scale <= 0:
        raise NoCounterpart("has a layer scale always")
    settings = {
        "memory_fuser_embed_dim": dim,
        "memory_fuser_intermediate_dim": 4 * dim,
        "memory_fuser_kernel_size": given.take("kernel_size", 7),
        "memory_fuser_padding": given.take("padding", 3),
        "memory_fuser_layer_scale_init_value": scale,
    }
    given.end()
    return settings


def cx_block(kwargs: Kwargs) -> nn.Module:
    """See the reference page's CXBlock."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryFuserCXBlock

    inner = Sam2VideoMemoryFuserCXBlock(_config(**_cx_settings(kwargs)))
    return Adapter(inner, names.CX_BLOCK, lambda inner, x: inner(x), kwargs)


def _fuser_settings(kwargs: Kwargs) -> dict[str, Any]:
    given = Arguments(kwargs)
    given.only("input_projection", False)
    given.take("dim")
    settings = {
        **_cx_settings(given.take("layer").kwargs),
        "memory_fuser_num_layers": given.take("num_layers"),
    }
    given.end()
    return settings


def fuser(kwargs: Kwargs) -> nn.Module:
    """See the reference page's Fuser."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryFuser

    inner = Sam2VideoMemoryFuser(_config(**_fuser_settings(kwargs)))
    return Adapter(inner, names.FUSER, lambda inner, x: inner(x), kwargs)


def memory_encoder_settings(kwargs: Kwargs) -> tuple[dict[str, Any], int]:
    """What a configuration says of the reference page's memory encoder, and the steps of its down-sampler."""
    given = Arguments(kwargs)
    given.only("interpol_size", None)
    out_dim, in_dim = given.take("out_dim"), given.take("in_dim", 256)
    if out_dim == in_dim:
        raise NoCounterpart("projects its result always")
    if given.take("position_encoding") is not None:
        raise NoCounterpart("has position encodings with the released settings only")
    settings: dict[str, Any] = {
        "memory_encoder_hidden_size": in_dim,
        "memory_encoder_output_channels": out_dim,
    }
    masks, layers = given.take("mask_downsampler"), given.take("fuser")
    ours, steps = _down_sampler_settings(
        {"kernel_size": 3, "stride": 2, "padding": 1} if masks is None else masks.kwargs
    )
    settings |= ours
    if layers is not None:
        settings |= _fuser_settings(layers.kwargs)
    given.end()
    return settings, steps


def encode_memory(inner: nn.Module, pix_feat: Tensor, masks: Tensor, skip_mask_sigmoid: bool = False) -> Any:
    """The reference page's call on a memory encoder of transformers, where the sigmoid is applied outside."""
    features, encodings = inner(pix_feat, masks if skip_mask_sigmoid else masks.sigmoid())
    return {"vision_features": features, "vision_pos_enc": [encodings]}


def memory_encoder(kwargs: Kwargs) -> nn.Module:
    """See the reference page's MemoryEncoder."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoMemoryEncoder

    settings, steps = memory_encoder_settings(kwargs)
    inner = Sam2VideoMemoryEncoder(_config(**settings))
    return Adapter(inner, names.memory_encoder(steps), encode_memory, kwargs)


def sine_of_line(pos_inds: Tensor, dim: int, temperature: int = 10000) -> Tensor:
    """See the reference page's get_1d_sine_pe."""
    from transformers.models.sam2_video.modeling_sam2_video import get_1d_sine_pe

    found: Tensor = get_1d_sine_pe(pos_inds, dim, temperature=temperature)
    return found


BUILDERS = {
    "RoPEAttention": rope_attention,
    "MemoryAttentionLayer": memory_attention_layer,
    "MemoryAttention": memory_attention,
    "CXBlock": cx_block,
    "Fuser": fuser,
    "MemoryEncoder": memory_encoder,
}
"""The reference page's blocks → the functions that make transformers'."""

FUNCTIONS: dict[str, Callable[[], Callable[..., Any]]] = {"get_1d_sine_pe": lambda: sine_of_line}
"""The reference page's functions → how to get transformers'."""
