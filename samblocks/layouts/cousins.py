"""Models that come from SAM and SAM 2, told by the names of their tensors: which are ours, and which are not.

Some have tensors of their own; these are named, and none is half loaded. Some have exactly the tensors of a released
model; then it is said which model it may be, and what differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_OWN: Final = (
    (
        "EdgeTAM",
        r"(?:.*\.)?(?:spatial_perceiver\.|image_encoder\.trunk\.body\.stages_\d"
        r"|vision_encoder\.backbone\.timm_model\..*token_mixer\.).+",
    ),
    ("RepViT-SAM or EdgeSAM", r"(?:.*\.)?image_encoder\..*\b(?:token_mixer|channel_mixer)\..+"),
    (
        "HQ-SAM 2",
        r"(?:.*\.)?sam_mask_decoder\.(?:hf_|embedding_encoder|embedding_maskfeature|compress_vit_feat).+",
    ),
)
"""Names that one model alone has: of EdgeTAM, RepViT and EfficientTAM as packages with these models name them."""

_SAM2_HEADS: Final = re.compile(r"(?:.*\.)?(?:sam_mask_decoder|memory_attention)\..+")
_PLAIN_TRUNK: Final = re.compile(r"(?:.*\.)?image_encoder\.trunk\.blocks\.\d+\..+")
_HIERA: Final = re.compile(r"(?:.*\.)?image_encoder\.trunk\.(?:pos_embed_window|blocks\.\d+\.proj\..+)")
"""A trunk of stages: its windows' embedding, and the projections where its blocks change their width."""

_SAME: Final = {
    "sam2.1_hiera_tiny": "MedSAM2 has the same tensors: image_size=512 if it is MedSAM2",
    "sam_vit_b": "MedSAM has the same tensors, and loads in the same way",
}


def cousin(names: Iterable[str]) -> str:
    """The model that is not supported and to which tensors of these names belong; empty where there is none.

    Args:
        names: the tensors' names.

    >>> cousin(["sam_mask_decoder.iou_token.weight", "spatial_perceiver.latents"])
    'EdgeTAM'
    >>> cousin(["image_encoder.trunk.blocks.0.attn.qkv.weight", "memory_attention.norm.weight"])
    'EfficientTAM'
    """
    listed = list(names)
    for model, pattern in _OWN:
        if any(re.fullmatch(pattern, name) for name in listed):
            return model
    plain = any(map(_SAM2_HEADS.fullmatch, listed)) and any(map(_PLAIN_TRUNK.fullmatch, listed))
    return "EfficientTAM" if plain and not any(map(_HIERA.fullmatch, listed)) else ""


def not_supported(names: Iterable[str]) -> str:
    """That these are the tensors of a model that is not supported; empty where they are not.

    >>> not_supported(["sam_mask_decoder.hf_token.weight"])
    'an HQ-SAM 2 checkpoint: not supported yet'
    """
    model = cousin(names)
    article = "an" if model[:1] in "EH" else "a"
    return f"{article} {model} checkpoint: not supported yet" if model else ""


def same_tensors(variants: Iterable[str]) -> str:
    """What else a whole file of these variants may be; empty where nothing is known.

    >>> same_tensors(["sam2.1_hiera_tiny"])
    'MedSAM2 has the same tensors: image_size=512 if it is MedSAM2'
    """
    return "; ".join(_SAME[variant] for variant in variants if variant in _SAME)
