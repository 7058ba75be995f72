"""The table between Meta's layout and any other, and every tensor that a variant has in a layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from samblocks.errors import ArgumentError, LayoutError
from samblocks.image_size import ImageSize, image_sides
from samblocks.layouts import table_muggled, table_timm, table_transformers
from samblocks.layouts.components import family_of
from samblocks.layouts.manifest import meta_tensors
from samblocks.layouts.operations import IDENTITY
from samblocks.layouts.rules import Table, TensorMapping, TensorMappings
from samblocks.layouts.templates import numberless
from samblocks.layouts.tensors import TensorInfo
from samblocks.variants import (
    LAYOUTS,
    MODEL_CLASSES,
    VARIANTS,
    HieraConfig,
    ImageEncoderViTConfig,
    Variant,
)


class IdentityTable(Table):
    """The table of a layout that has Meta's names: every tensor is itself.

    Args:
        name: the layout, for messages.
        keys: the names, in state-dict order.

    >>> IdentityTable("meta", ["no_mem_embed"]).to_other("no_mem_embed")
    ('no_mem_embed',)
    """

    def __init__(self, name: str, keys: Iterable[str]) -> None:
        super().__init__(name, ())
        self._places = {key: place for place, key in enumerate(keys)}

    def to_other(self, key: str) -> tuple[str, ...]:
        """The name itself; see `Table.to_other`."""
        if key not in self._places:
            raise LayoutError(f"{key!r} is no tensor of {self.name}")
        return (key,)

    def to_meta(self, key: str) -> tuple[str, ...]:
        """The name itself; see `Table.to_meta`."""
        return self.to_other(key)

    def knows_other(self, key: str) -> bool:
        """Whether it is one of the names."""
        return key in self._places

    def optional_other(self, key: str) -> bool:
        """No tensor may be left out."""
        return False

    def numberless_other(self) -> set[str]:
        """What the names look like with `#` for every number."""
        return {numberless(key) for key in self._places}

    def rank_other(self, key: str) -> list[tuple[int, int]]:
        """The place in the state dict."""
        return [(self._places.get(key, len(self._places)), 0)]

    def map(self, tensors: Mapping[str, TensorInfo], *, to_meta: bool) -> TensorMappings:
        """What becomes of tensors: nothing; see `Table.map`."""
        known = {key: info for key, info in tensors.items() if key in self._places}
        unknown = {key: f"no tensor of {self.name} has this name" for key in tensors if key not in known}
        return TensorMappings(tuple(TensorMapping(IDENTITY, (key,), (key,)) for key in known), unknown, known)


def variants_of(layout: str) -> tuple[Variant, ...]:
    """The variants that a layout exists for.

    >>> len(variants_of("meta")), len(variants_of("timm"))
    (18, 11)
    """
    _check(layout, None)
    return tuple(row for row in VARIANTS.values() if layout in row.only_in or not row.only_in)


def classes_of(layout: str, row: Variant) -> tuple[str | None, ...]:
    """The model classes that a variant's files have in a layout, the one that holds everything first.

    >>> classes_of("transformers", VARIANTS["sam2_hiera_tiny"])
    ('Sam2VideoModel', 'Sam2Model')
    >>> classes_of("meta", VARIANTS["sam_vit_b"])
    (None,)
    """
    if layout != "transformers":
        return (None,)
    if family_of(row) == "sam2":
        return ("Sam2VideoModel", "Sam2Model")
    return ("SamHQModel",) if row.family == "sam_hq" else ("SamModel",)


def _check(layout: str, model_class: str | None) -> None:
    if layout not in LAYOUTS:
        raise ArgumentError(f"layout {layout!r} is unknown; it must be one of {', '.join(LAYOUTS)}")
    if model_class is not None and model_class not in MODEL_CLASSES:
        raise ArgumentError(
            f"model_class {model_class!r} is unknown; it must be one of {', '.join(MODEL_CLASSES)}"
        )


def class_of(layout: str, row: Variant, model_class: str | None) -> str | None:
    """The model class that is meant: the one that was given, or the one that holds everything.

    Raises:
        ValueError: the layout or class is unknown, or the variant has no such class.
    """
    _check(layout, model_class)
    classes = classes_of(layout, row)
    if layout != "transformers" or model_class is None:
        return classes[0]
    if model_class not in classes:
        names = ", ".join(str(name) for name in classes)
        raise ArgumentError(f"model_class {model_class!r} is not one of {row.name}; it must be {names}")
    return model_class


def table(
    layout: str, row: Variant, model_class: str | None = None, *, image_size: ImageSize | None = None
) -> Table:
    """The rules between Meta's layout and another one.

    Args:
        layout: one of `LAYOUTS`; for "meta" and "ultralytics" every name maps to itself.
        row: the variant.
        model_class: "Sam2VideoModel" or "Sam2Model" where both exist; the first if None.
        image_size: side of the image in pixels, or its height and width, which muggled_sam's description of SAM
            holds; None for the released one.

    Returns:
        a table that takes every tensor of the variant.

    Raises:
        ValueError: layout or class is unknown.
        LayoutError: the layout has no such variant.
    """
    given = image_size if layout == "muggled" and row.family == "sam" else None
    height, width = image_sides(given or row.image_size)
    return _table(layout, row, class_of(layout, row, model_class), (height // 16, width // 16))


@lru_cache(maxsize=128)
def _table(layout: str, row: Variant, model_class: str | None, grid: tuple[int, int]) -> Table:
    if row.only_in and layout not in row.only_in:
        raise LayoutError(
            f"layout {layout} does not exist for {row.name}; convert it to {' or '.join(row.only_in)}"
        )
    if layout == "transformers":
        return table_transformers.TABLES[str(model_class)]()
    if layout == "timm":
        return table_timm.sam2_table(row) if isinstance(row.trunk, HieraConfig) else table_timm.sam_table(row)
    if layout == "muggled" and isinstance(row.trunk, HieraConfig):
        return table_muggled.sam2_table(row.trunk, is_21=row.family == "sam2.1")
    if layout == "muggled" and isinstance(row.trunk, ImageEncoderViTConfig):
        return table_muggled.sam_table(row.trunk, grid)
    return IdentityTable(layout, meta_tensors(row))


def tied_keys(layout: str, row: Variant) -> tuple[str, ...]:
    """Names that a library leaves out of its files because the tensor stands there under another name.

    Args:
        layout: one of `LAYOUTS`.
        row: the variant.

    Returns:
        the names; they are part of `expected`, and files with and without them can be read.

    >>> tied_keys("transformers", VARIANTS["sam_vit_b"])
    ('prompt_encoder.shared_embedding.positional_embedding',)
    """
    tied = layout == "transformers" and row.family in ("sam", "sam_hq")
    return (table_transformers.SHARED_AGAIN,) if tied else ()


@lru_cache(maxsize=128)
def expected(layout: str, row: Variant, model_class: str | None = None) -> Mapping[str, TensorInfo]:
    """Every tensor that a variant has in a layout, in the order of that layout's state dict.

    Args:
        layout: one of `LAYOUTS`.
        row: the variant.
        model_class: as in `table`.

    Returns:
        name to shape and dtype, as published: image side 1024, seven memories, float32.

    Raises:
        ValueError: layout or class is unknown.
        LayoutError: the layout has no such variant.

    >>> list(expected("timm", VARIANTS["sam2_hiera_tiny"]))[-2:]
    ['head.norm.weight', 'head.norm.bias']
    """
    rules = table(layout, row, model_class)
    infos = rules.map(meta_tensors(row), to_meta=False).infos
    return MappingProxyType({key: infos[key] for key in sorted(infos, key=rules.rank_other)})
