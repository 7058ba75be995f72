"""Every manifest of every layout, held against the tables: names, shapes, dtypes, order, both ways."""

import json
import math
from collections import Counter
from collections.abc import Callable

import pytest

from samblocks.errors import LayoutError
from samblocks.layouts import (
    LAYOUTS,
    TensorInfo,
    classes_of,
    expected,
    meta_tensors,
    plan,
    table,
    tied_keys,
    variants_of,
)
from samblocks.layouts.operations import Create
from samblocks.variants import VARIANTS

Manifest = dict[str, TensorInfo]
Key = tuple[str, str, str | None]
BYTES = {"F32": 4, "I64": 8, "U8": 1}


def test_there_is_a_manifest_for_every_layout_variant_and_class(manifest_keys: list[Key]) -> None:
    wanted = {
        (layout, variant, None if model_class == "SamModel" else model_class)
        for layout in LAYOUTS
        for variant in (row.name for row in variants_of(layout))
        for model_class in classes_of(layout, VARIANTS[variant])
    }
    without = wanted - set(manifest_keys)
    assert without == {("meta", "mobile_sam", None)}, "the others have none in tests/data/manifests"
    assert set(manifest_keys) <= wanted
    assert len(manifest_keys) == 75


def test_expected_is_the_manifest_order_included(
    manifest_key: Key, manifest: Callable[..., Manifest]
) -> None:
    layout, variant, model_class = manifest_key
    made = expected(layout, VARIANTS[variant], model_class)
    assert list(made.items()) == list(manifest(*manifest_key).items())


def test_a_manifest_becomes_metas_and_comes_back(
    manifest_key: Key, manifest: Callable[..., Manifest], meta_side: Callable[[str], Manifest]
) -> None:
    layout, variant, model_class = manifest_key
    theirs, metas = manifest(*manifest_key), meta_side(variant)
    rules = table(layout, VARIANTS[variant], model_class)
    there = rules.map(theirs, to_meta=True)
    assert not there.unexplained
    assert {key: metas[key] for key in there.infos} == dict(there.infos)
    back = rules.map(there.infos, to_meta=False)
    assert not back.unexplained
    assert dict(back.infos) == theirs
    lost = set(metas) - set(there.infos)
    if (
        layout in ("meta", "ultralytics", "muggled")
        or model_class == "Sam2VideoModel"
        or layout == "transformers"
    ):
        assert not lost or model_class == "Sam2Model"
    if model_class == "Sam2Model":
        assert len(lost) == (160 if "2.1" in variant else 157)


def test_metas_manifest_maps_and_comes_back(
    manifest_key: Key, manifest: Callable[..., Manifest], meta_side: Callable[[str], Manifest]
) -> None:
    layout, variant, model_class = manifest_key
    metas = meta_side(variant)
    rules = table(layout, VARIANTS[variant], model_class)
    there = rules.map(metas, to_meta=False)
    assert not there.unexplained
    assert dict(there.infos) == manifest(*manifest_key)
    dropped = {key for mapping in there.mappings if not mapping.outputs for key in mapping.inputs}
    back = rules.map(there.infos, to_meta=True)
    invented = {
        key for mapping in back.mappings if isinstance(mapping.operation, Create) for key in mapping.outputs
    }
    kept = {key: info for key, info in metas.items() if key not in dropped}
    assert {key: info for key, info in back.infos.items() if key not in invented} == kept
    assert invented == ({"no_mem_pos_enc"} if layout == "muggled" and "sam2" in variant else set())
    assert invented <= dropped


@pytest.mark.parametrize(
    ("variant", "model_class", "size"),
    [
        # Sizes in bytes of facebook/*/model.safetensors, as several projects state them.
        ("sam2.1_hiera_tiny", "Sam2VideoModel", 155908064),
        ("sam2.1_hiera_small", "Sam2VideoModel", 184305280),
        ("sam2.1_hiera_base_plus", "Sam2VideoModel", 323476296),
        ("sam2.1_hiera_large", "Sam2VideoModel", 897897416),
        ("sam2_hiera_large", "Sam2VideoModel", 897831024),
        # What transformers 5.23.0 itself was seen to write.
        ("sam_vit_b", "SamModel", 374979376),
        # The same of Meta's tensors, rewritten as safetensors by a third party.
        ("sam2.1_hiera_tiny", None, 155906872),
        ("sam2_hiera_tiny", None, 155840544),
    ],
)
def test_names_shapes_and_dtypes_give_the_published_size(
    variant: str, model_class: str | None, size: int
) -> None:
    layout = "transformers" if model_class else "meta"
    tied = tied_keys(layout, VARIANTS[variant])
    tensors = {
        key: info for key, info in expected(layout, VARIANTS[variant], model_class).items() if key not in tied
    }
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for key in sorted(tensors):
        start, end = end, end + BYTES[tensors[key].dtype] * math.prod(tensors[key].shape)
        header[key] = {"dtype": "F32", "shape": list(tensors[key].shape), "data_offsets": [start, end]}
    text = len(json.dumps(header, separators=(",", ":")))
    assert 8 + text + -text % 8 + end == size


@pytest.mark.parametrize("variant", [row.name for row in variants_of("muggled")])
def test_muggleds_description_is_byte_for_byte_its_own(
    variant: str, manifest: Callable[..., Manifest], manifest_notes: Callable[[str, str], tuple[str, ...]]
) -> None:
    row = VARIANTS[variant]
    (note,) = (line for line in manifest_notes("muggled", variant) if "build arguments" in line)
    wanted = note[note.index("{") :].strip().encode()
    made = {
        mapping.outputs[0]: mapping.operation.data
        for mapping in table("muggled", row).map(meta_tensors(row), to_meta=False).mappings
        if isinstance(mapping.operation, Create)
    }
    ((name, data),) = made.items()
    assert data == wanted
    assert manifest("muggled", variant)[name].shape == (len(wanted),)


def test_muggleds_description_follows_the_image_side() -> None:
    tensors = meta_tensors(VARIANTS["sam_vit_b"], image_size=512)
    steps = plan(tensors, source="meta", target="muggled", row=VARIANTS["sam_vit_b"]).of_kind("invented")
    operation = steps[0].mappings[0].operation
    assert isinstance(operation, Create)
    assert json.loads(operation.data)["base_patch_grid_hw"] == [32, 32]


@pytest.mark.parametrize(
    ("variant", "counts"),
    [
        ("sam_vit_b", {"renamed": 301, "used": 2, "reshaped": 11, "invented": 1}),
        ("sam2.1_hiera_tiny", {"renamed": 442, "used": 2, "reshaped": 26, "dropped": 1, "invented": 1}),
    ],
)
def test_muggleds_reshapes_are_the_known_ones(variant: str, counts: dict[str, int]) -> None:
    steps = plan(
        meta_tensors(VARIANTS[variant]), source="meta", target="muggled", row=VARIANTS[variant]
    ).steps
    assert Counter(step.kind for step in steps) == counts
    ways = Counter(step.op for step in steps if step.kind == "reshaped")
    if variant == "sam_vit_b":
        assert ways == {"c -> 1 c 1 1": 10, "1 h w c -> 1 c h w": 1}
    else:
        assert ways == {"c -> 1 c 1 1": 20, "o i -> o i 1 1": 4, "1 1 c -> 1 c 1 1": 1, "1 c -> 1 1 c": 1}


def test_sam2model_is_the_image_half_and_the_same_for_both_releases(
    manifest: Callable[..., Manifest],
) -> None:
    for size in ("tiny", "small", "base_plus", "large"):
        old, new = f"sam2_hiera_{size}", f"sam2.1_hiera_{size}"
        half = expected("transformers", VARIANTS[new], "Sam2Model")
        assert half == expected("transformers", VARIANTS[old], "Sam2Model")
        assert half.items() <= expected("transformers", VARIANTS[old], "Sam2VideoModel").items()
        assert expected("timm", VARIANTS[old]) == expected("timm", VARIANTS[new])
        assert len(manifest("meta", new)) - len(manifest("meta", old)) == 3


def test_a_variant_without_a_layout_is_refused() -> None:
    for layout in ("transformers", "timm", "muggled"):
        with pytest.raises(LayoutError, match="mobile_sam"):
            table(layout, VARIANTS["mobile_sam"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("torch", "sam_vit_b", None), "layout 'torch'"),
        (("transformers", "sam_vit_b", "Sam2Model"), "model_class 'Sam2Model'"),
        (("transformers", "sam2_hiera_tiny", "SamModel"), "model_class 'SamModel'"),
        (("transformers", "sam2_hiera_tiny", "Sam3Model"), "model_class 'Sam3Model'"),
    ],
)
def test_a_wrong_argument_is_named(arguments: tuple[str, str, str | None], named: str) -> None:
    layout, variant, model_class = arguments
    with pytest.raises(ValueError, match=named):
        expected(layout, VARIANTS[variant], model_class)


def test_only_transformers_sam_has_tied_names() -> None:
    found = {(layout, row.name): tied_keys(layout, row) for layout in LAYOUTS for row in variants_of(layout)}
    assert {key for key, names in found.items() if names} == {
        ("transformers", name)
        for size in "blh"
        for name in (
            f"sam_vit_{size}",
            f"sam_hq_vit_{size}",
            *(["slimsam_50", "slimsam_77"] if size == "b" else []),
        )
    }
    for (layout, variant), names in found.items():
        assert set(names) < set(expected(layout, VARIANTS[variant])) or not names
