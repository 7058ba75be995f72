"""The parts of a model that a file may hold alone, and the names they have in each layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

_SAM_PARTS = {
    "image_encoder.": "image_encoder",
    "prompt_encoder.": "prompt_encoder",
    "mask_decoder.": "mask_decoder",
}
_SAM2_PARTS = {
    "image_encoder.trunk.": "trunk",
    "image_encoder.neck.": "neck",
    "sam_prompt_encoder.": "prompt_encoder",
    "sam_mask_decoder.": "mask_decoder",
    "memory_attention.": "memory_attention",
    "memory_encoder.": "memory_encoder",
}
_REST = "tracking"
"""What a SAM 2 model holds outside its modules: embeddings of absence and time, pointer projections."""

PART_ORDER = (
    *_SAM_PARTS.values(),
    *(part for part in _SAM2_PARTS.values() if part not in _SAM_PARTS.values()),
    _REST,
)

_BARE: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("meta", "sam"): tuple(_SAM_PARTS),
    ("meta", "mobile_sam"): tuple(_SAM_PARTS),
    ("meta", "sam2"): ("image_encoder.", *_SAM2_PARTS),
    ("transformers", "sam"): ("vision_encoder.", "prompt_encoder.", "mask_decoder."),
    ("transformers", "sam2"): (
        "vision_encoder.",
        "vision_encoder.backbone.",
        "vision_encoder.neck.",
        "prompt_encoder.",
        "mask_decoder.",
        "memory_attention.",
        "memory_encoder.",
    ),
}


def bare_prefixes(layout: str, family: str) -> tuple[str, ...]:
    """What may be missing in front of every name of a file that holds one part of a model.

    Args:
        layout: the layout.
        family: "sam", "mobile_sam" or "sam2".

    Returns:
        the empty string, for whole models, and the names of parts with a dot behind.
    """
    return ("", *_BARE.get((layout, family), ()))


@lru_cache(maxsize=4096)
def part_of(meta_key: str, family: str) -> str:
    """The part of a model that a tensor belongs to, by its name in Meta's layout.

    >>> part_of("image_encoder.trunk.pos_embed", "sam2"), part_of("no_obj_ptr", "sam2")
    ('trunk', 'tracking')
    """
    for prefix, part in (_SAM2_PARTS if family == "sam2" else _SAM_PARTS).items():
        if meta_key.startswith(prefix):
            return part
    return _REST


def component_name(parts: Iterable[str]) -> str:
    """One name for a set of parts.

    >>> component_name(["neck", "trunk"]), component_name(["mask_decoder", "prompt_encoder"])
    ('image_encoder', 'prompt_encoder+mask_decoder')
    """
    found = set(parts)
    if {"trunk", "neck"} <= found:
        found = found - {"trunk", "neck"} | {"image_encoder"}
    return "+".join(part for part in PART_ORDER if part in found)
