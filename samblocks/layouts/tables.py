"""The table between Meta's layout and any other, and every tensor that a variant has in a layout."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from samblocks.errors import LayoutError
from samblocks.layouts import table_muggled, table_timm, table_transformers
from samblocks.layouts.facts import FACTS, Sam2Facts, SamFacts, facts_of
from samblocks.layouts.identity import Identity
from samblocks.layouts.meta import meta_tensors
from samblocks.layouts.rules import Table
from samblocks.layouts.tensors import TensorInfo
from samblocks.variants import LAYOUTS, MODEL_CLASSES


def variants_of(layout: str) -> tuple[str, ...]:
    """The variants that a layout exists for.

    >>> len(variants_of("meta")), len(variants_of("timm"))
    (12, 11)
    """
    _check(layout, None)
    return tuple(name for name in FACTS if layout in ("meta", "ultralytics") or name != "mobile_sam")


def classes_of(layout: str, variant: str) -> tuple[str | None, ...]:
    """The model classes that a variant's files have in a layout, the one that holds everything first.

    >>> classes_of("transformers", "sam2_hiera_tiny")
    ('Sam2VideoModel', 'Sam2Model')
    >>> classes_of("meta", "sam_vit_b")
    (None,)
    """
    if layout != "transformers":
        return (None,)
    return ("Sam2VideoModel", "Sam2Model") if facts_of(variant).family == "sam2" else ("SamModel",)


def _check(layout: str, model_class: str | None) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is unknown; it must be one of {', '.join(LAYOUTS)}")
    if model_class is not None and model_class not in MODEL_CLASSES:
        raise ValueError(
            f"model_class {model_class!r} is unknown; it must be one of {', '.join(MODEL_CLASSES)}"
        )


def class_of(layout: str, variant: str, model_class: str | None) -> str | None:
    """The model class that is meant: the one that was given, or the one that holds everything.

    Raises:
        ValueError: the layout or class is unknown, or the variant has no such class.
    """
    _check(layout, model_class)
    classes = classes_of(layout, variant)
    if layout != "transformers" or model_class is None:
        return classes[0]
    if model_class not in classes:
        names = ", ".join(str(name) for name in classes)
        raise ValueError(f"model_class {model_class!r} is not one of {variant}; it must be {names}")
    return model_class


def table(layout: str, variant: str, model_class: str | None = None, *, image_size: int = 1024) -> Table:
    """The rules between Meta's layout and another one.

    Args:
        layout: one of `LAYOUTS`; for "meta" and "ultralytics" every name maps to itself.
        variant: the variant.
        model_class: "Sam2VideoModel" or "Sam2Model" where both exist; the first if None.
        image_size: side of the image in pixels; muggled_sam's description of SAM holds it.

    Returns:
        a table that takes every tensor of the variant.

    Raises:
        ValueError: layout, variant or class is unknown.
        LayoutError: the layout has no such variant, or two rules fit one key, or a tensor fits none.
    """
    told = image_size if layout == "muggled" and facts_of(variant).family == "sam" else 1024
    return _table(layout, variant, class_of(layout, variant, model_class), told // 16)


@lru_cache(maxsize=128)
def _table(layout: str, variant: str, model_class: str | None, grid: int) -> Table:
    facts = facts_of(variant)
    if variant not in variants_of(layout):
        raise LayoutError(f"layout {layout} does not exist for {variant}; convert it to meta or ultralytics")
    if layout in ("meta", "ultralytics"):
        made: Table = Identity(layout, meta_tensors(variant))
    elif isinstance(facts, Sam2Facts):
        made = _sam2_table(layout, facts, model_class)
    else:
        made = _sam_table(layout, facts, grid)
    made.check(meta=meta_tensors(variant))
    return made


def _sam_table(layout: str, facts: SamFacts, grid: int) -> Table:
    if layout == "transformers":
        return table_transformers.sam_table()
    return table_timm.sam_table(facts.name) if layout == "timm" else table_muggled.sam_table(facts, grid)


def _sam2_table(layout: str, facts: Sam2Facts, model_class: str | None) -> Table:
    if layout == "transformers":
        image_half = model_class == "Sam2Model"
        return table_transformers.sam2_image_table() if image_half else table_transformers.sam2_video_table()
    return table_timm.sam2_table(facts) if layout == "timm" else table_muggled.sam2_table(facts)


def tied_keys(layout: str, variant: str) -> tuple[str, ...]:
    """Names that a library leaves out of its files because the tensor stands there under another name.

    Args:
        layout: one of `LAYOUTS`.
        variant: the variant.

    Returns:
        the names; they are part of `expected`, and files with and without them can be read.

    >>> tied_keys("transformers", "sam_vit_b")
    ('prompt_encoder.shared_embedding.positional_embedding',)
    """
    tied = layout == "transformers" and facts_of(variant).family == "sam"
    return (table_transformers.SHARED_AGAIN,) if tied else ()


@lru_cache(maxsize=128)
def expected(layout: str, variant: str, model_class: str | None = None) -> Mapping[str, TensorInfo]:
    """Every tensor that a variant has in a layout, in the order of that layout's state dict.

    Args:
        layout: one of `LAYOUTS`.
        variant: the variant.
        model_class: as in `table`.

    Returns:
        name to shape and dtype, as published: image side 1024, seven memories, float32.

    Raises:
        ValueError: layout, variant or class is unknown.
        LayoutError: the layout has no such variant.

    >>> list(expected("timm", "sam2_hiera_tiny"))[-2:]
    ['head.norm.weight', 'head.norm.bias']
    """
    rules = table(layout, variant, model_class)
    infos = rules.moves(meta_tensors(variant), to_meta=False).infos
    return MappingProxyType({key: infos[key] for key in sorted(infos, key=rules.rank_other)})
