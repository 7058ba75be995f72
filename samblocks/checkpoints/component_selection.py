"""Which variant and which part of it a file is loaded as, where the file alone leaves a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Final

from samblocks.errors import CheckpointError
from samblocks.variants import VARIANTS, Variant

_SAM_PATHS: Final = MappingProxyType(
    {name: name for name in ("image_encoder", "prompt_encoder", "mask_decoder")}
)
_SAM2_PATHS: Final = MappingProxyType(
    {
        "image_encoder": "image_encoder",
        "trunk": "image_encoder.trunk",
        "neck": "image_encoder.neck",
        "prompt_encoder": "sam_prompt_encoder",
        "mask_decoder": "sam_mask_decoder",
        "memory_attention": "memory_attention",
        "memory_encoder": "memory_encoder",
    }
)
_DEPENDS_ON: Final = MappingProxyType(
    {
        "image_encoder": ("trunk", "neck"),
        "trunk": ("trunk",),
        "neck": ("trunk", "neck"),
        "prompt_encoder": ("prompt", "image_size"),
        "mask_decoder": ("prompt", "multimask", "pred_obj_scores", "iou_prediction_use_sigmoid"),
        "memory_attention": ("memory", "prompt", "image_size"),
        "memory_encoder": ("memory", "prompt"),
    }
)
"""What of a variant decides how a part of it is built: parts of its row, or settings of `tracking`."""


def check_variant(variant: str) -> str:
    """The variant's name, or a `ValueError` that lists the names."""
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, not {variant!r}")
    return variant


def component_path(component: str, variant: str) -> str:
    """Where a part of a variant's model is, as a path of attributes.

    Args:
        component: `"image_encoder"`, `"trunk"`, `"mask_decoder"`, …, or the attribute's own path.
        variant: a name in `VARIANTS`.

    Raises:
        ValueError: the variant has no such part.

    >>> component_path("trunk", "sam2_hiera_tiny"), component_path("mask_decoder", "sam_vit_b")
    ('image_encoder.trunk', 'mask_decoder')
    """
    paths = _SAM_PATHS if VARIANTS[variant].tracking is None else _SAM2_PATHS
    path = paths.get(component) or (component if component in paths.values() else None)
    if path is None:
        raise ValueError(f"component must be one of {', '.join(paths)} for {variant}, not {component!r}")
    return path


def is_component(component: str | None, variant: str) -> bool:
    """Whether a part has a module of its own in the variant's model."""
    return component in (_SAM_PATHS if VARIANTS[variant].tracking is None else _SAM2_PATHS)


def component_at(path: str) -> str:
    """The short name of the part at a path of attributes."""
    return next((name for name, at in _SAM2_PATHS.items() if at == path), path)


def same_module(candidates: Sequence[str], component: str | None) -> bool:
    """Whether all candidates would be built alike, so that it does not matter which one a file is.

    >>> same_module(("sam2_hiera_tiny", "sam2.1_hiera_tiny"), "trunk")
    True
    >>> same_module(("sam2_hiera_tiny", "sam2.1_hiera_tiny"), None)
    False
    """
    if component is None:
        return len(candidates) == 1
    built = [_built(VARIANTS[name], component) for name in candidates]
    return all(parts == built[0] for parts in built[1:])


def choose_variant(path: Path, candidates: Sequence[str], component: str | None) -> str:
    """The only candidate, or any of them if they would be built alike.

    Raises:
        CheckpointError: they would not, so the caller has to say which one is meant.
    """
    if same_module(candidates, component):
        return candidates[0]
    tables = [VARIANTS[name].facts() for name in candidates]
    differ = [key for key in tables[0] if any(table.get(key) != tables[0][key] for table in tables)]
    kind = f" (they differ in {', '.join(differ[:3])})" if differ else ""
    raise CheckpointError(
        f"{path} holds tensors that fit each of {', '.join(candidates)}{kind}: say which with variant=."
    )


def _built(row: Variant, component: str) -> list[object]:
    own = {field.name for field in fields(row)}
    return [getattr(row if part in own else row.tracking, part, None) for part in _DEPENDS_ON[component]]
