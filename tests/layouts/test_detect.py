"""Recognising whole files: every manifest, prefixes, renames, other sizes, and what cannot be told."""

from collections.abc import Callable

import pytest

from samblocks.layouts import Detection, TensorInfo, detect, meta_tensors, tied_keys, variants_of
from samblocks.layouts.components import family_of
from samblocks.layouts.key_prefix import _SAMPLES
from samblocks.variants import LAYOUTS, VARIANTS

Manifest = dict[str, TensorInfo]
Key = tuple[str, str, str | None]
SIZES = ("tiny", "small", "base_plus", "large")


def _both(variant: str) -> tuple[str, ...]:
    size = variant.partition("_hiera_")[2]
    return (f"sam2_hiera_{size}", f"sam2.1_hiera_{size}")


def test_every_manifest_is_recognised(manifest_key: Key, manifest: Callable[..., Manifest]) -> None:
    layout, variant, model_class = manifest_key
    found = detect(manifest(*manifest_key))
    assert found.layout == ("meta" if layout == "ultralytics" else layout)
    same_for_both = model_class == "Sam2Model" or (layout == "timm" and "sam2" in variant)
    assert found.candidates == (_both(variant) if same_for_both else (variant,))
    parts = {"sam": "image_encoder", "sam2": "trunk"}
    assert found.component == (parts["sam2" if "sam2" in variant else "sam"] if layout == "timm" else None)
    assert found.model_class == ("SamModel" if layout == "transformers" and not model_class else model_class)
    assert found.prefix == ""
    assert (found.missing, found.unexpected, found.misshapen) == ((), (), ())


def test_every_layout_has_a_sample_of_every_family() -> None:
    by_name = set(LAYOUTS) - {"ultralytics"}  # whose names are Meta's
    wanted = {(layout, family_of(row)) for layout in by_name for row in variants_of(layout)}
    assert {(layout, family_of(VARIANTS[variant])) for layout, variant in _SAMPLES} == wanted


def test_the_release_is_left_open_where_tensors_cannot_tell(manifest: Callable[..., Manifest]) -> None:
    found = detect(manifest("transformers", "sam2_hiera_small", "Sam2Model"))
    assert [row.family for row in found.rows] == ["sam2", "sam2.1"]
    assert any("cannot tell" in line for line in found.evidence)


PREFIXES = (
    "module.",
    "model.",
    "_orig_mod.",
    "sam.",
    "detector.",
    "module.model.",
    "model.module.",
    "_orig_mod.module.sam.",
    "module.model.sam2.image_predictor.",
    "nets.0.",
)


@pytest.mark.parametrize(
    ("prefix", "layout", "variant", "model_class"),
    [
        *((prefix, "meta", "sam2_hiera_tiny", None) for prefix in PREFIXES),
        *((prefix, "transformers", "sam_vit_b", None) for prefix in PREFIXES),
        ("module.", "meta", "sam_vit_b", None),
        ("model.", "meta", "mobile_sam", None),
        ("sam.", "transformers", "sam2.1_hiera_tiny", "Sam2VideoModel"),
        ("_orig_mod.module.", "timm", "sam_vit_b", None),
        ("trainer.net.", "muggled", "sam2.1_hiera_tiny", None),
    ],
)
def test_prefixes_come_off(
    prefix: str, layout: str, variant: str, model_class: str | None, manifest: Callable[..., Manifest]
) -> None:
    plain = manifest("ultralytics" if variant == "mobile_sam" else layout, variant, model_class)
    found = detect({prefix + key: info for key, info in plain.items()})
    assert (found.layout, found.candidates, found.prefix) == (layout, (variant,), prefix)
    assert found.component == detect(plain).component


def test_names_of_wrapping_modules_inside_a_name_come_off(manifest: Callable[..., Manifest]) -> None:
    plain = manifest("meta", "sam2.1_hiera_tiny")
    wrapped = {
        key.replace("image_encoder.", "image_encoder._orig_mod.").replace(
            "layers.0.", "layers.0._checkpoint_wrapped_module."
        )
        for key in plain
    }
    found = detect({f"module.{key}": plain[_plain(key)] for key in wrapped})
    assert (found.candidates, found.component, found.prefix) == (("sam2.1_hiera_tiny",), None, "module.")
    assert any("wrapping modules" in line for line in found.evidence)


def _plain(key: str) -> str:
    return key.replace("_orig_mod.", "").replace("_checkpoint_wrapped_module.", "")


def test_the_model_is_taken_rather_than_its_running_average(manifest: Callable[..., Manifest]) -> None:
    plain = manifest("meta", "sam_vit_b")
    both = {f"{name}.{key}": info for key, info in plain.items() for name in ("ema", "model")}
    found = detect(both, strict=False)
    assert found.prefix == "model."
    assert len(found.unexpected) == len(plain)


@pytest.mark.parametrize(
    ("layout", "model_class", "old", "new"),
    [
        ("meta", None, "gamma", "weight"),
        ("ultralytics", None, "gamma", "weight"),
        ("transformers", "Sam2VideoModel", "scale", "gamma"),
        ("transformers", "Sam2VideoModel", "scale", "weight"),
    ],
)
def test_gamma_renamed_by_older_transformers_is_understood(
    layout: str, model_class: str | None, old: str, new: str, manifest: Callable[..., Manifest]
) -> None:
    plain = manifest(layout, "sam2.1_hiera_tiny", model_class)
    renamed = {
        key.removesuffix(old) + new if key.endswith("." + old) else key: info for key, info in plain.items()
    }
    assert len(set(renamed) - set(plain)) == 2
    found = detect(renamed)
    assert (found.candidates, found.component) == (("sam2.1_hiera_tiny",), None)
    assert sum("stands for" in line for line in found.evidence) == 2


def test_norms_with_gamma_and_beta_are_understood(manifest: Callable[..., Manifest]) -> None:
    plain = manifest("meta", "sam_vit_b")
    ends = {"norm1.weight": "norm1.gamma", "norm1.bias": "norm1.beta"}
    renamed = {}
    for key, info in plain.items():
        for end, name in ends.items():
            key = key.removesuffix(end) + name if key.endswith(end) else key
        renamed[key] = info
    assert len(set(renamed) - set(plain)) == 28
    assert detect(renamed).candidates == ("sam_vit_b",)


@pytest.mark.parametrize("layout", ["meta", "transformers", "timm", "muggled"])
def test_another_image_side_is_told_by_the_shapes(layout: str) -> None:
    from samblocks.layouts import plan

    small = plan(
        meta_tensors(VARIANTS["sam_vit_l"], image_size=512),
        source="meta",
        target=layout,
        row=VARIANTS["sam_vit_l"],
    ).infos
    found = detect(small)
    assert (found.layout, found.candidates, found.image_size) == (layout, ("sam_vit_l",), 512)
    assert any("image side 512" in line for line in found.evidence)


def test_another_number_of_memories_is_told_by_the_shapes() -> None:
    found = detect(meta_tensors(VARIANTS["sam2_hiera_base_plus"], num_maskmem=15))
    assert (found.candidates, found.num_maskmem, found.image_size) == (("sam2_hiera_base_plus",), 15, None)


@pytest.mark.parametrize("variant", ["sam_vit_b", "sam_vit_l", "sam_vit_h"])
def test_a_sammodel_file_with_either_copy_or_both_is_whole(
    variant: str, manifest: Callable[..., Manifest]
) -> None:
    plain = manifest("transformers", variant)
    copies = [key for key in plain if key.endswith("positional_embedding")]
    assert len(copies) == 2
    assert set(tied_keys("transformers", VARIANTS[variant])) < set(copies)
    for absent in copies:
        found = detect({key: info for key, info in plain.items() if key != absent})
        assert (found.candidates, found.component, found.missing) == ((variant,), None, ())


def _shared(one: Manifest, other: Manifest) -> set[str]:
    return {key for key in one.keys() & other.keys() if one[key] == other[key]}


@pytest.mark.parametrize(
    ("variant", "model_class", "count"),
    [("sam_vit_b", None, 78), ("sam2.1_hiera_tiny", "Sam2VideoModel", 66)],
)
def test_meta_and_transformers_are_not_taken_for_each_other(
    variant: str, model_class: str | None, count: int, manifest: Callable[..., Manifest]
) -> None:
    metas, theirs = manifest("meta", variant), manifest("transformers", variant, model_class)
    common = _shared(metas, theirs)
    assert len(common) == count
    assert [detect(tensors).layout for tensors in (metas, theirs)] == ["meta", "transformers"]


@pytest.mark.parametrize("variant", ["sam_vit_b", "sam_vit_l", "sam_vit_h"])
def test_a_decoder_alone_is_told_although_ten_names_mean_other_layers(
    variant: str, manifest: Callable[..., Manifest]
) -> None:
    found: list[Detection] = []
    sides = [manifest("meta", variant), manifest("transformers", variant)]
    decoders = [
        {key: info for key, info in side.items() if key.startswith("mask_decoder.")} for side in sides
    ]
    common = _shared(*decoders)
    other_layer = {
        key for key in common if (".layers.0." in key and "mlps" in key) or "iou_prediction_head" in key
    }
    assert len(other_layer) == 10
    for decoder in decoders:
        found += [
            detect(decoder),
            detect({key.removeprefix("mask_decoder."): info for key, info in decoder.items()}),
        ]
    assert [one.layout for one in found] == ["meta", "meta", "transformers", "transformers"]
    assert {one.component for one in found} == {"mask_decoder"}


def test_the_order_of_the_tensors_decides_nothing(manifest: Callable[..., Manifest]) -> None:
    plain = manifest("transformers", "sam2_hiera_tiny", "Sam2VideoModel")
    assert detect(dict(sorted(plain.items(), reverse=True))) == detect(plain)


def test_dtypes_decide_nothing(manifest: Callable[..., Manifest]) -> None:
    plain = manifest("ultralytics", "sam2.1_hiera_small")
    assert detect({key: TensorInfo(info.shape, "F16") for key, info in plain.items()}).candidates == (
        "sam2.1_hiera_small",
    )
