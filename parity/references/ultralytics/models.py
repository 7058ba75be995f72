"""Ultralytics' model classes, and its builders for any image size, version and options."""

from collections.abc import Mapping
from typing import Any
from unittest import mock

from torch import nn

from parity.execution.case import NoCounterpart
from parity.execution.sizes import LETTERS
from parity.references.common import wide_tables
from parity.references.common.dialect import Entry, renamed
from parity.references.common.overrides import overridden, sam_sizes

_MODULES = "ultralytics.models.sam.modules"
_SAM = {"sam_vit_b", "sam_vit_l", "sam_vit_h", "mobile_sam"}
_SAM2_BUILDERS = {size: f"build_sam2_{letter}" for size, letter in LETTERS.items()}


def model(variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
    """A whole model as Ultralytics' own builder makes it, without weights of its own.

    Args:
        variant: one of its own.
        image_size: side of the square input in pixels, in place of the released 1024.
        options: for SAM 2, arguments of `SAM2Model` in place of the builder's; SAM 1 has none.
    """
    if variant not in _SAM and "_hiera_" not in variant:
        raise NoCounterpart(f"ultralytics has no {variant}")
    if variant in _SAM and options:
        raise NoCounterpart(f"SAM 1 has no options, this case sets {', '.join(options)}")
    from ultralytics.models.sam import build

    if variant in _SAM:
        with overridden(build, {**sam_sizes(image_size), "TinyViT": {"img_size": image_size}}):
            sam: nn.Module = getattr(build, f"build_{variant}")(None)
        return sam
    version, _, size = variant.partition("_hiera_")
    with (
        overridden(build, {"SAM2Model": {"image_size": image_size, **options}}),
        # The version follows from the name of the checkpoint, so there must be one; nothing is read from it.
        mock.patch.object(build, "_load_checkpoint", lambda built, checkpoint: built),
    ):
        sam2: nn.Module = getattr(build, _SAM2_BUILDERS[size])(f"{version}_hiera_{size}.pt")
    return sam2


def _prompt_encoder(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Labels 2 and 3 are always embedded here: cases about that are known to differ, the others are not."""
    return {name: value for name, value in kwargs.items() if name != "embed_corner_labels"}


ENTRIES = {
    "ImageEncoderViT": wide_tables.entry(f"{_MODULES}.encoders:ImageEncoderViT"),
    **{name: Entry(f"{_MODULES}.encoders:{name}") for name in ("Hiera", "ImageEncoder")},
    "PromptEncoder": Entry(f"{_MODULES}.encoders:PromptEncoder", _prompt_encoder),
    "FpnNeck": Entry(f"{_MODULES}.encoders:FpnNeck", renamed(without={"position_encoding": None})),
    "MemoryEncoder": Entry(
        f"{_MODULES}.encoders:MemoryEncoder",
        renamed(without={"mask_downsampler": None, "fuser": None, "position_encoding": None}),
    ),
    "TinyViT": Entry(f"{_MODULES}.tiny_encoder:TinyViT"),
    "MaskDecoder": Entry(f"{_MODULES}.decoders:MaskDecoder"),
    "SAM2MaskDecoder": Entry(f"{_MODULES}.decoders:SAM2MaskDecoder"),
    "MemoryAttention": Entry(f"{_MODULES}.memory_attention:MemoryAttention"),
    "MemoryAttentionLayer": Entry(f"{_MODULES}.memory_attention:MemoryAttentionLayer"),
    "SAMModel": Entry(f"{_MODULES}.sam:SAMModel"),
    "SAM2Model": Entry(f"{_MODULES}.sam:SAM2Model"),
    **{
        name: Entry(f"parity.references.ultralytics.predictors:{here}")
        for name, here in {
            "SamPredictor": "sam",
            "SAM2ImagePredictor": "sam2",
            "SAM2VideoPredictor": "Filmed",
        }.items()
    },
}
"""The reference page's model classes, and its predictors."""
