"""The committed manifests: what each library's own state dict holds, by layout, variant and class."""

import gzip
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from samblocks.layouts import TensorInfo

MANIFESTS = Path(__file__).parents[1] / "data" / "manifests"
DTYPES = {"float32": "F32", "int64": "I64", "uint8": "U8"}

Key = tuple[str, str, str | None]
Manifest = dict[str, TensorInfo]


def _shape(text: str) -> tuple[int, ...]:
    return () if text == "scalar" else tuple(int(size) for size in text.split("x"))


@cache
def _read(layout: str, variant: str, model_class: str | None) -> Manifest:
    name = "__".join(part for part in (layout, variant, model_class) if part)
    with gzip.open(MANIFESTS / f"{name}.tsv.gz", "rt", encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    return {row[0]: TensorInfo(_shape(row[1]), DTYPES[row[2]]) for row in rows}


@cache
def _notes(layout: str, variant: str) -> tuple[str, ...]:
    with gzip.open(MANIFESTS / f"{layout}__{variant}.tsv.gz", "rt", encoding="utf-8") as file:
        return tuple(line for line in file if line.startswith("#"))


def keys() -> list[Key]:
    """Layout, variant and class of every manifest."""
    parts = [path.name.removesuffix(".tsv.gz").split("__") for path in sorted(MANIFESTS.glob("*.tsv.gz"))]
    return [(layout, variant, rest[0] if rest else None) for layout, variant, *rest in parts]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "manifest_key" in metafunc.fixturenames:
        metafunc.parametrize("manifest_key", keys(), ids=lambda key: "-".join(filter(None, key)))


@pytest.fixture
def manifest() -> Callable[..., Manifest]:
    """`manifest(layout, variant, model_class=None)`: a fresh dict, in state-dict order."""

    def read(layout: str, variant: str, model_class: str | None = None) -> Manifest:
        return dict(_read(layout, variant, model_class))

    return read


@pytest.fixture
def meta_side(manifest: Callable[..., Manifest]) -> Callable[[str], Manifest]:
    """Meta's tensors of a variant; Meta publishes no mobile_sam, whose names Ultralytics kept."""
    return lambda variant: manifest("ultralytics" if variant == "mobile_sam" else "meta", variant)


@pytest.fixture
def manifest_notes() -> Callable[[str, str], tuple[str, ...]]:
    """The comment lines of a manifest."""
    return _notes


@pytest.fixture
def manifest_keys() -> list[Key]:
    """Layout, variant and class of every manifest."""
    return keys()
