"""Meta's model classes by the reference page's names, and its builders for any image size and options."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from parity.execution.case import NoCounterpart
from parity.execution.sizes import LETTERS
from parity.references.common import wide_tables
from parity.references.common.dialect import Entry, renamed
from parity.references.common.overrides import overridden, sam_sizes

_SAM = "segment_anything.modeling"
_SAM2 = "sam2.modeling"

_SAM2_CONFIGS = {
    f"{version}_hiera_{size}": f"configs/{version}/{version}_hiera_{short}.yaml"
    for version in ("sam2", "sam2.1")
    for size, short in {**LETTERS, "base_plus": "b+"}.items()
}


_SLIM: dict[str, dict[str, Any]] = {
    "slimsam_50": {"embed_dim": 384, "mlp_ratio": 4.0},
    "slimsam_77": {"embed_dim": 168, "mlp_ratio": 696 / 168},
}
"""SlimSAM is Meta's smallest SAM with another width: Meta's builder is given it."""


def config(variant: str) -> str:
    """The name of Meta's configuration of a SAM 2 variant."""
    return _SAM2_CONFIGS[variant]


def model(variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
    """A whole model as Meta's own builder makes it, in eval mode, without weights of its own.

    Args:
        variant: one of Meta's, or a SlimSAM.
        image_size: side of the square input in pixels, in place of the released 1024.
        options: for SAM 2, arguments of `SAM2Base` in place of the released ones; SAM 1 has none.
    """
    if variant in _SAM2_CONFIGS:
        from sam2.build_sam import build_sam2

        overrides = {"image_size": image_size, **options}
        built: nn.Module = build_sam2(
            _SAM2_CONFIGS[variant],
            device="cpu",
            hydra_overrides_extra=[f"++model.{name}={value}" for name, value in overrides.items()],
        )
        return built
    if variant in _SLIM:
        builder = importlib.import_module("segment_anything.build_sam")
        sizes = sam_sizes(image_size)
        sizes["ImageEncoderViT"] |= _SLIM[variant]
        with overridden(builder, sizes):
            slim: nn.Module = builder.sam_model_registry["vit_b"](checkpoint=None)
        return slim
    if not variant.startswith("sam_vit_"):
        raise NoCounterpart(f"meta has no {variant}")
    if options:
        raise NoCounterpart(f"meta's SAM 1 has no options, this case sets {', '.join(options)}")
    # By this name the package exports a function; behind it is the module that holds the classes.
    builder = importlib.import_module("segment_anything.build_sam")
    with overridden(builder, sam_sizes(image_size)):
        sam: nn.Module = builder.sam_model_registry[variant.removeprefix("sam_")](checkpoint=None)
    return sam


def _prompt_encoder(kwargs: Mapping[str, Any]) -> nn.Module:
    """The two packages differ in whether points labelled as a box's corners get the corners' embeddings."""
    embeds_corners = kwargs.get("embed_corner_labels", True)
    arguments = {name: value for name, value in kwargs.items() if name != "embed_corner_labels"}
    if embeds_corners:
        from sam2.modeling.sam.prompt_encoder import PromptEncoder
    else:
        from segment_anything.modeling.prompt_encoder import PromptEncoder
    encoder: nn.Module = PromptEncoder(**arguments)
    return encoder


def _memory_attention_layer(kwargs: Mapping[str, Any]) -> nn.Module:
    """Everything is required here; the reference page's defaults are the released settings."""
    from sam2.modeling.memory_attention import MemoryAttentionLayer
    from sam2.modeling.sam.transformer import RoPEAttention

    given = dict(kwargs)
    own = given.pop("self_attn", None) or RoPEAttention(256, 1, dropout=0.1)
    cross = given.pop("cross_attn", None) or RoPEAttention(
        256, 1, dropout=0.1, kv_in_dim=64, rope_k_repeat=True
    )
    defaults = {
        "activation": "relu",
        "d_model": 256,
        "dim_feedforward": 2048,
        "dropout": 0.1,
        "pos_enc_at_attn": False,
        "pos_enc_at_cross_attn_keys": True,
        "pos_enc_at_cross_attn_queries": False,
    }
    layer: nn.Module = MemoryAttentionLayer(
        **{**defaults, **given}, self_attention=own, cross_attention=cross
    )
    return layer


def _fpn_neck(kwargs: Mapping[str, Any]) -> nn.Module:
    """The reference page's class makes its position encoding itself."""
    from sam2.modeling.backbones.image_encoder import FpnNeck
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    given = dict(kwargs)
    encoding = given.pop("position_encoding", None) or PositionEmbeddingSine(256)
    neck: nn.Module = FpnNeck(position_encoding=encoding, **given)
    return neck


def _memory_encoder(kwargs: Mapping[str, Any]) -> nn.Module:
    """The reference page's class makes its parts itself, with the released settings."""
    from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine

    given = renamed(without={"interpol_size": None})(kwargs)
    parts: dict[str, Callable[[], nn.Module]] = {
        "mask_downsampler": lambda: MaskDownSampler(kernel_size=3, stride=2, padding=1),
        "fuser": lambda: Fuser(CXBlock(256), num_layers=2),
        "position_encoding": lambda: PositionEmbeddingSine(64),
    }
    made = {name: given.pop(name, None) or make() for name, make in parts.items()}
    encoder: nn.Module = MemoryEncoder(**given, **made)
    return encoder


_HERE = "parity.references.meta.models"


def _via(function: str) -> Entry:
    """An entry whose arguments a function of this file translates."""
    return Entry(f"{_HERE}:{function}", lambda kwargs: {"kwargs": kwargs})


ENTRIES = {
    "ImageEncoderViT": wide_tables.entry(f"{_SAM}.image_encoder:ImageEncoderViT"),
    "MaskDecoder": Entry(f"{_SAM}.mask_decoder:MaskDecoder"),
    "SAMModel": Entry(f"{_SAM}.sam:Sam"),
    "PromptEncoder": _via("_prompt_encoder"),
    "Hiera": Entry(f"{_SAM2}.backbones.hieradet:Hiera"),
    "FpnNeck": _via("_fpn_neck"),
    "ImageEncoder": Entry(f"{_SAM2}.backbones.image_encoder:ImageEncoder"),
    "MemoryAttentionLayer": _via("_memory_attention_layer"),
    "MemoryAttention": Entry(f"{_SAM2}.memory_attention:MemoryAttention"),
    "MemoryEncoder": _via("_memory_encoder"),
    "SAM2MaskDecoder": Entry(f"{_SAM2}.sam.mask_decoder:MaskDecoder"),
    "SAM2Model": Entry(f"{_SAM2}.sam2_base:SAM2Base"),
}
"""The reference page's model classes → Meta's."""
