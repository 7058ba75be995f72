"""Recognising files that hold one part of a model, with the part's name in front or without."""

import sys
from collections.abc import Callable

import pytest

from samblocks.layouts import TensorInfo, detect, expected, plan
from samblocks.layouts.components import family_of
from samblocks.layouts.match import match_all
from samblocks.variants import VARIANTS

Manifest = dict[str, TensorInfo]

SAM = ("sam_vit_b", "sam_vit_l", "sam_vit_h", "mobile_sam", "slimsam_50", "slimsam_77")
"""The variants with SAM's decoder; HQ-SAM has its encoders and prompts."""
HQ = ("sam_hq_vit_b", "sam_hq_vit_l", "sam_hq_vit_h", "sam_hq_vit_tiny")
IN_TRANSFORMERS = tuple(name for name in SAM if name != "mobile_sam")
SAM2 = tuple(name for name in VARIANTS if name.startswith("sam2"))
SMALL = ("sam2_hiera_small", "sam2.1_hiera_small")
NARROW = ("sam2_hiera_tiny", "sam2_hiera_small", "sam2.1_hiera_tiny", "sam2.1_hiera_small")

CASES = [
    # layout, variant, prefix of the part, component, candidates with the prefix, candidates without
    ("meta", "sam_vit_l", "image_encoder.", "image_encoder", ("sam_vit_l", HQ[1]), ("sam_vit_l", HQ[1])),
    ("meta", "mobile_sam", "image_encoder.", "image_encoder", ("mobile_sam", HQ[3]), ("mobile_sam", HQ[3])),
    ("meta", "sam_vit_b", "prompt_encoder.", "prompt_encoder", SAM + HQ, tuple(VARIANTS)),
    ("meta", "sam_vit_b", "mask_decoder.", "mask_decoder", SAM, SAM),
    ("meta", "sam2.1_hiera_small", "image_encoder.", "image_encoder", SMALL, SMALL),
    ("meta", "sam2.1_hiera_small", "image_encoder.trunk.", "trunk", SMALL, SMALL),
    ("meta", "sam2.1_hiera_small", "image_encoder.neck.", "neck", NARROW, NARROW),
    ("meta", "sam2.1_hiera_small", "sam_prompt_encoder.", "prompt_encoder", SAM2, tuple(VARIANTS)),
    ("meta", "sam2.1_hiera_small", "sam_mask_decoder.", "mask_decoder", SAM2, SAM2),
    ("meta", "sam2.1_hiera_small", "memory_attention.", "memory_attention", SAM2, SAM2),
    ("meta", "sam2.1_hiera_small", "memory_encoder.", "memory_encoder", SAM2, SAM2),
    (
        "transformers",
        "sam_vit_h",
        "vision_encoder.",
        "image_encoder",
        ("sam_vit_h", HQ[2]),
        ("sam_vit_h", HQ[2]),
    ),
    (
        "transformers",
        "sam_vit_h",
        "prompt_encoder.",
        "prompt_encoder",
        IN_TRANSFORMERS + HQ[:3],
        IN_TRANSFORMERS + HQ[:3],
    ),
    ("transformers", "sam_vit_h", "mask_decoder.", "mask_decoder", IN_TRANSFORMERS, IN_TRANSFORMERS),
    ("transformers", "sam2_hiera_small", "vision_encoder.", "image_encoder", SMALL, SMALL),
    ("transformers", "sam2_hiera_small", "vision_encoder.backbone.", "trunk", SMALL, SMALL),
    ("transformers", "sam2_hiera_small", "vision_encoder.neck.", "neck", NARROW, NARROW),
    ("transformers", "sam2_hiera_small", "prompt_encoder.", "prompt_encoder", SAM2, SAM2),
    ("transformers", "sam2_hiera_small", "mask_decoder.", "mask_decoder", SAM2, SAM2),
    ("transformers", "sam2_hiera_small", "memory_attention.", "memory_attention", SAM2, SAM2),
    ("transformers", "sam2_hiera_small", "memory_encoder.", "memory_encoder", SAM2, SAM2),
]


def _file(manifest: Callable[..., Manifest], layout: str, variant: str) -> Manifest:
    video = "Sam2VideoModel" if layout == "transformers" and "sam2" in variant else None
    return manifest("ultralytics" if variant == "mobile_sam" else layout, variant, video)


@pytest.mark.parametrize(("layout", "variant", "prefix", "component", "named", "bare"), CASES)
def test_a_part_alone_is_recognised(
    layout: str,
    variant: str,
    prefix: str,
    component: str,
    named: tuple[str, ...],
    bare: tuple[str, ...],
    manifest: Callable[..., Manifest],
) -> None:
    whole = _file(manifest, layout, variant)
    part = {key: info for key, info in whole.items() if key.startswith(prefix)}
    for front, candidates in ((prefix, named), ("", bare), ("module.", bare), ("model.encoder.", bare)):
        found = detect({front + key.removeprefix(prefix): info for key, info in part.items()})
        assert (found.layout, found.component) == (layout, component)
        assert set(found.candidates) == set(candidates)
        assert found.candidates == tuple(name for name in VARIANTS if name in candidates)
        assert found.prefix == ("" if front == prefix else front)


@pytest.mark.parametrize(("layout", "variant", "prefix", "component", "named", "bare"), CASES)
def test_a_part_without_its_name_gets_it_back_on_the_way_to_meta(
    layout: str,
    variant: str,
    prefix: str,
    component: str,
    named: tuple[str, ...],
    bare: tuple[str, ...],
    manifest: Callable[..., Manifest],
    meta_side: Callable[[str], Manifest],
) -> None:
    whole = _file(manifest, layout, variant)
    part = {
        f"module.{key.removeprefix(prefix)}": info for key, info in whole.items() if key.startswith(prefix)
    }
    planned = plan(part, source=layout, target="meta", row=VARIANTS[variant])
    assert not planned.of_kind("unexplained", "dropped")
    assert planned.infos.items() <= meta_side(variant).items()
    assert {key for step in planned.steps for key in step.sources} == set(part)
    assert bare
    assert named
    assert component


def test_several_parts_are_named_together(manifest: Callable[..., Manifest]) -> None:
    whole = manifest("meta", "sam_vit_h")
    found = detect({key: info for key, info in whole.items() if not key.startswith("image_encoder.")})
    assert (found.component, found.candidates) == ("prompt_encoder+mask_decoder", SAM)


def test_everything_about_memory_tells_the_release(manifest: Callable[..., Manifest]) -> None:
    whole = manifest("meta", "sam2.1_hiera_large")
    parts = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.")
    found = detect({key: info for key, info in whole.items() if not key.startswith(parts)})
    assert found.component == "memory_attention+memory_encoder+tracking"
    assert [row.family for row in found.rows] == ["sam2.1"] * 4


def test_a_vision_model_of_transformers_is_recognised(manifest: Callable[..., Manifest]) -> None:
    """`SamVisionModel`, `Sam2VisionModel` and `Sam2HieraDetModel`, as their own state dicts name tensors."""
    first = manifest("transformers", "sam_vit_b")
    second = manifest("transformers", "sam2_hiera_tiny", "Sam2VideoModel")
    files = [
        (
            {key: info for key, info in first.items() if key.startswith("vision_encoder.")},
            177,
            "image_encoder",
        ),
        (_below(second, "vision_encoder."), 162, "image_encoder"),
        (_below(second, "vision_encoder.backbone."), 154, "trunk"),
    ]
    for tensors, count, component in files:
        found = detect(tensors)
        assert (len(tensors), found.layout, found.component) == (count, "transformers", component)


def _below(tensors: Manifest, prefix: str) -> Manifest:
    return {key.removeprefix(prefix): info for key, info in tensors.items() if key.startswith(prefix)}


def test_the_three_bare_trunks_are_told_apart(manifest: Callable[..., Manifest]) -> None:
    variant = "sam2.1_hiera_base_plus"
    files = {
        "meta": _below(manifest("meta", variant), "image_encoder.trunk."),
        "transformers": _below(
            manifest("transformers", variant, "Sam2VideoModel"), "vision_encoder.backbone."
        ),
        "timm": manifest("timm", variant),
    }
    for layout, tensors in files.items():
        found = detect(tensors)
        assert (found.layout, found.component, len(found.candidates)) == (layout, "trunk", 2)


@pytest.mark.parametrize(("layout", "variant"), [("timm", "sam_vit_b"), ("timm", "sam2_hiera_tiny")])
def test_timms_classifier_is_no_part_of_sam(
    layout: str, variant: str, manifest: Callable[..., Manifest]
) -> None:
    tensors = manifest(layout, variant) | {
        "head.fc.weight": TensorInfo((10, 768)),
        "head.fc.bias": TensorInfo((10,)),
    }
    assert variant in detect(tensors).candidates
    planned = plan(tensors, source=layout, target="meta", row=VARIANTS[variant])
    dropped = {key for step in planned.of_kind("dropped") for key in step.sources}
    assert {"head.fc.weight", "head.fc.bias"} <= dropped
    assert all(step.why for step in planned.of_kind("dropped"))


def test_a_timm_trunk_without_its_own_norm_is_whole(manifest: Callable[..., Manifest]) -> None:
    tensors = {key: info for key, info in manifest("timm", "sam2_hiera_tiny").items() if "head" not in key}
    assert detect(tensors).layout == "timm"


@pytest.mark.parametrize("variant", ["sam_vit_b", "mobile_sam", "sam_hq_vit_b", "sam2.1_hiera_tiny"])
def test_a_whole_model_is_compared_with_its_own_family_alone(variant, monkeypatch):
    tensors = expected("meta", VARIANTS[variant])
    asked = []

    def counted(tensors, prefix):
        asked.append(prefix.family)
        return match_all(tensors, prefix)

    monkeypatch.setattr(sys.modules["samblocks.layouts.detect"], "match_all", counted)
    assert detect(tensors).candidates == (variant,)
    assert asked == [family_of(VARIANTS[variant])]
    asked.clear()
    assert not detect({name: info for name, info in tensors.items() if "iou" not in name}, strict=False).exact
    assert len(asked) > (not variant.startswith("sam2"))  # what is not whole may be another one
