"""Which variant and which part of it a file is loaded as, where the file alone leaves a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Final

from samblocks.errors import ArgumentError, CheckpointError
from samblocks.layouts.components import component_paths, family_of
from samblocks.variants import VARIANTS, Variant

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


def named_variant(name: str) -> Variant:
    """The variant of this name, or a `ValueError` that lists the names."""
    if name not in VARIANTS:
        raise ArgumentError(f"variant must be one of {', '.join(VARIANTS)}, not {name!r}")
    return VARIANTS[name]


def component_path(component: str, row: Variant) -> str:
    """Where a part of a variant's model is, as a path of attributes.

    Args:
        component: `"image_encoder"`, `"trunk"`, `"mask_decoder"`, …, or the attribute's own path.
        row: the variant.

    Raises:
        ValueError: the variant has no such part.

    >>> component_path("trunk", VARIANTS["sam2_hiera_tiny"]), component_path("mask_decoder", VARIANTS["sam_vit_b"])
    ('image_encoder.trunk', 'mask_decoder')
    """
    paths = component_paths(family_of(row))
    path = paths.get(component) or (component if component in paths.values() else None)
    if path is None:
        raise ArgumentError(f"component must be one of {', '.join(paths)} for {row.name}, not {component!r}")
    return path


def is_component(component: str | None, row: Variant) -> bool:
    """Whether a part has a module of its own in the variant's model."""
    return component in component_paths(family_of(row))


def component_at(path: str) -> str:
    """The short name of the part at a path of attributes."""
    return next((name for name, at in component_paths("sam2").items() if at == path), path)


def same_module(rows: Sequence[Variant], component: str | None) -> bool:
    """Whether all variants would be built alike, so that it does not matter which one a file is.

    >>> rows = (VARIANTS["sam2_hiera_tiny"], VARIANTS["sam2.1_hiera_tiny"])
    >>> same_module(rows, "trunk"), same_module(rows, None)
    (True, False)
    """
    if component is None:
        return len(rows) == 1
    built = [_built(row, component) for row in rows]
    return all(parts == built[0] for parts in built[1:])


def choose_variant(path: Path, rows: Sequence[Variant], component: str | None) -> Variant:
    """The only candidate, or any of them if they would be built alike.

    Raises:
        CheckpointError: they would not, so the caller has to say which one is meant.
    """
    if same_module(rows, component):
        return rows[0]
    tables = [row.facts() for row in rows]
    differ = [key for key in tables[0] if any(table.get(key) != tables[0][key] for table in tables)]
    kind = f" (they differ in {', '.join(differ[:3])})" if differ else ""
    raise CheckpointError(
        f"{path} holds tensors that fit each of {', '.join(row.name for row in rows)}{kind}: say which with variant=."
    )


def _built(row: Variant, component: str) -> list[object]:
    own = {field.name for field in fields(row)}
    rest = getattr(row, "tracking", None)
    return [getattr(row if part in own else rest, part, None) for part in _DEPENDS_ON[component]]
