"""Plans: every tensor in exactly one step, every kind of step, and every pair of layouts."""

from collections import Counter
from collections.abc import Callable

import pytest

from samblocks.errors import LayoutError
from samblocks.layouts import (
    KINDS,
    LAYOUTS,
    Plan,
    TensorInfo,
    classes_of,
    expected,
    meta_tensors,
    plan,
    variants_of,
)
from samblocks.variants import VARIANTS

Manifest = dict[str, TensorInfo]
VECTOR = TensorInfo((3,))
PAIRS = [
    (source, source_class, target, target_class, variant)
    for variant in ("sam_vit_b", "mobile_sam", "sam2_hiera_base_plus", "sam2.1_hiera_tiny")
    for source in LAYOUTS
    for target in LAYOUTS
    if VARIANTS[variant] in variants_of(source) and VARIANTS[variant] in variants_of(target)
    for source_class in classes_of(source, VARIANTS[variant])
    for target_class in classes_of(target, VARIANTS[variant])
]


def sources(planned: Plan) -> Counter[str]:
    return Counter(key for step in planned.steps for key in step.sources)


def kinds(planned: Plan) -> dict[str, int]:
    return dict(Counter(step.kind for step in planned.steps))


@pytest.mark.parametrize(("source", "source_class", "target", "target_class", "variant"), PAIRS)
def test_every_pair_of_layouts(
    source: str, source_class: str | None, target: str, target_class: str | None, variant: str
) -> None:
    file, wanted = (
        expected(source, VARIANTS[variant], source_class),
        expected(target, VARIANTS[variant], target_class),
    )
    planned = plan(
        file,
        source=source,
        target=target,
        row=VARIANTS[variant],
        model_class=target_class,
        source_class=source_class,
    )
    assert sources(planned) == Counter(file.keys())
    targets = [key for step in planned.steps for key in step.targets]
    assert len(targets) == len(set(targets))
    assert set(targets) | set(planned.missing) == set(wanted)
    assert not set(targets) & set(planned.missing)
    assert {key: wanted[key] for key in targets} == dict(planned.infos)
    assert not planned.misshapen
    assert not planned.of_kind("unexplained")
    assert all(step.why for step in planned.of_kind("dropped", "invented"))
    assert all(step.kind in KINDS for step in planned.steps)
    subset = source == "timm" or source_class == "Sam2Model"
    assert bool(planned.missing) == (subset and not set(wanted) <= set(targets))
    firsts = [step.targets[0] for step in planned.steps if step.targets]
    assert firsts == [key for key in wanted if key in set(firsts)]
    assert all(step.targets for step in planned.steps[: len(firsts)])


@pytest.mark.parametrize(
    ("source", "source_class", "target", "target_class", "variant", "counts"),
    [
        ("meta", None, "ultralytics", None, "mobile_sam", {"used": 439}),
        ("ultralytics", None, "meta", None, "sam2.1_hiera_tiny", {"used": 471}),
        ("meta", None, "transformers", None, "sam_vit_b", {"duplicated": 1, "renamed": 245, "used": 68}),
        ("transformers", None, "meta", None, "sam_vit_b", {"deduplicated": 1, "renamed": 245, "used": 68}),
        (
            "meta",
            None,
            "transformers",
            "Sam2VideoModel",
            "sam2.1_hiera_tiny",
            {"duplicated": 1, "packed": 1, "renamed": 400, "used": 66},
        ),
        (
            "meta",
            None,
            "transformers",
            "Sam2Model",
            "sam2.1_hiera_tiny",
            {"duplicated": 1, "packed": 1, "renamed": 306, "dropped": 160},
        ),
        (
            "transformers",
            "Sam2VideoModel",
            "muggled",
            None,
            "sam2.1_hiera_tiny",
            {"deduplicated": 1, "unpacked": 1, "renamed": 439, "reshaped": 26, "invented": 1, "dropped": 1},
        ),
        ("timm", None, "meta", None, "sam2.1_hiera_tiny", {"renamed": 154, "dropped": 2}),
        ("meta", None, "timm", None, "sam2.1_hiera_tiny", {"renamed": 154, "dropped": 317, "invented": 2}),
        ("timm", None, "timm", None, "sam2.1_hiera_tiny", {"used": 156}),
        (
            "transformers",
            "Sam2VideoModel",
            "transformers",
            "Sam2Model",
            "sam2.1_hiera_tiny",
            {"used": 309, "dropped": 160},
        ),
    ],
)
def test_the_kinds_are_the_known_ones(
    source: str,
    source_class: str | None,
    target: str,
    target_class: str | None,
    variant: str,
    counts: dict[str, int],
) -> None:
    file = expected(source, VARIANTS[variant], source_class)
    planned = plan(
        file,
        source=source,
        target=target,
        row=VARIANTS[variant],
        model_class=target_class,
        source_class=source_class,
    )
    # Names that stay by accident of both layouts' words are "used" as well.
    assert kinds(planned) == counts


def test_a_sam2model_file_is_read_by_the_video_models_rules_too() -> None:
    file = expected("transformers", VARIANTS["sam2_hiera_tiny"], "Sam2Model")
    planned = plan(file, source="transformers", target="meta", row=VARIANTS["sam2_hiera_tiny"])
    assert not planned.of_kind("unexplained")
    assert len(planned.missing) == 157


def test_prefixes_and_old_renames_are_understood() -> None:
    file = {
        f"module.{key.replace('gamma', 'weight')}": info
        for key, info in meta_tensors(VARIANTS["sam2_hiera_tiny"]).items()
    }
    planned = plan(file, source="meta", target="meta", row=VARIANTS["sam2_hiera_tiny"])
    assert kinds(planned) == {"renamed": 468}
    assert dict(planned.infos) == dict(meta_tensors(VARIANTS["sam2_hiera_tiny"]))
    packed = plan(file, source="meta", target="transformers", row=VARIANTS["sam2_hiera_tiny"]).of_kind(
        "packed"
    )
    assert [key for step in packed for key in step.sources] == [
        f"module.sam_prompt_encoder.point_embeddings.{label}.weight" for label in range(4)
    ]


def test_what_is_not_known_is_unexplained_with_a_reason() -> None:
    file = dict(meta_tensors(VARIANTS["sam_vit_b"])) | {"optimizer.lr": TensorInfo(())}
    for target in ("meta", "transformers", "timm", "muggled"):
        planned = plan(file, source="meta", target=target, row=VARIANTS["sam_vit_b"])
        assert sources(planned) == Counter(file.keys())
        (step,) = planned.of_kind("unexplained")
        assert (step.sources, step.targets) == (("optimizer.lr",), ())
        assert "has this name" in step.why


def test_an_incomplete_pack_is_unexplained_and_its_target_missing() -> None:
    lost = "sam_prompt_encoder.point_embeddings.2.weight"
    file = {key: info for key, info in meta_tensors(VARIANTS["sam2_hiera_tiny"]).items() if key != lost}
    planned = plan(file, source="meta", target="transformers", row=VARIANTS["sam2_hiera_tiny"])
    assert sources(planned) == Counter(file.keys())
    steps = planned.of_kind("unexplained")
    assert len(steps) == 3
    assert all(lost in step.why for step in steps)
    assert planned.missing == ("prompt_encoder.point_embed.weight",)


def test_a_shape_that_does_not_fit_is_reported() -> None:
    file = dict(meta_tensors(VARIANTS["sam_vit_b"])) | {"mask_decoder.iou_token.weight": TensorInfo((2, 256))}
    planned = plan(file, source="meta", target="transformers", row=VARIANTS["sam_vit_b"])
    assert planned.misshapen == (("mask_decoder.iou_token.weight", (2, 256), (1, 256)),)
    bad = dict(meta_tensors(VARIANTS["sam_vit_b"])) | {"image_encoder.neck.1.weight": TensorInfo((256, 1))}
    planned = plan(bad, source="meta", target="muggled", row=VARIANTS["sam_vit_b"])
    (step,) = planned.of_kind("unexplained")
    assert step.sources == ("image_encoder.neck.1.weight",)
    assert "256x1" in step.why
    assert planned.missing == ("image_encoder.channel_projection.1.weight",)


@pytest.mark.parametrize("target", ["meta", "transformers", "timm", "muggled"])
def test_another_image_side_is_not_misshapen(target: str) -> None:
    planned = plan(
        meta_tensors(VARIANTS["sam_vit_b"], image_size=512),
        source="meta",
        target=target,
        row=VARIANTS["sam_vit_b"],
    )
    assert not planned.misshapen
    assert not planned.missing


def test_two_names_for_one_tensor_leave_the_second_unexplained() -> None:
    file = dict(meta_tensors(VARIANTS["sam_vit_b"])) | {
        "module.image_encoder.pos_embed": TensorInfo((1, 64, 64, 768))
    }
    planned = plan(file, source="meta", target="meta", row=VARIANTS["sam_vit_b"])
    assert sources(planned) == Counter(file.keys())
    (step,) = planned.of_kind("unexplained")
    assert step.sources[0].endswith("image_encoder.pos_embed")
    assert "image_encoder.pos_embed is the same tensor" in step.why


def test_invented_numbers_have_the_dtype_of_the_file() -> None:
    for dtype in ("F16", "BF16", "F32"):
        file = {
            key: TensorInfo(info.shape, dtype)
            for key, info in meta_tensors(VARIANTS["sam2_hiera_tiny"]).items()
        }
        planned = plan(file, source="meta", target="timm", row=VARIANTS["sam2_hiera_tiny"])
        assert {planned.infos[key].dtype for step in planned.of_kind("invented") for key in step.targets} == {
            dtype
        }
        muggled = plan(file, source="meta", target="muggled", row=VARIANTS["sam2_hiera_tiny"])
        assert muggled.infos["config_muggled_samv2"].dtype == "U8"


def test_a_decoder_alone_invents_nothing() -> None:
    part = {
        key: info
        for key, info in meta_tensors(VARIANTS["sam2_hiera_tiny"]).items()
        if key.startswith("sam_mask_decoder.")
    }
    for target in ("timm", "muggled"):
        assert not plan(part, source="meta", target=target, row=VARIANTS["sam2_hiera_tiny"]).of_kind(
            "invented"
        )
    theirs = expected("muggled", VARIANTS["sam_vit_b"])
    heads = {key: info for key, info in theirs.items() if key.startswith("mask_decoder.maskgen.")}
    assert not plan(heads, source="muggled", target="meta", row=VARIANTS["sam_vit_b"]).of_kind("invented")


def test_a_missing_copy_is_not_missing(manifest: Callable[..., Manifest]) -> None:
    plain = manifest("transformers", "sam_vit_b")
    for absent in [key for key in plain if key.endswith("positional_embedding")]:
        file = {key: info for key, info in plain.items() if key != absent}
        assert not plan(file, source="transformers", target="transformers", row=VARIANTS["sam_vit_b"]).missing
        back = plan(file, source="transformers", target="meta", row=VARIANTS["sam_vit_b"])
        assert not back.missing
        assert not back.of_kind("deduplicated")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"source": "onnx"}, "layout 'onnx'"),
        ({"target": "onnx"}, "layout 'onnx'"),
        ({"target": "transformers", "model_class": "Sam2Model"}, "model_class 'Sam2Model'"),
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, str], named: str) -> None:
    arguments = {"source": "meta", "target": "meta"} | wrong
    with pytest.raises(ValueError, match=named):
        plan({"pos_embed": VECTOR}, row=VARIANTS["sam_vit_b"], **arguments)


def test_a_layout_without_the_variant_is_refused() -> None:
    with pytest.raises(LayoutError, match="mobile_sam"):
        plan(meta_tensors(VARIANTS["mobile_sam"]), source="meta", target="timm", row=VARIANTS["mobile_sam"])
