"""Files that fit nothing: the nearest variant and every kind of difference are named."""

import random
from collections.abc import Callable

import pytest

from samblocks.errors import LayoutError
from samblocks.layouts import TensorInfo, detect, meta_tensors
from samblocks.variants import VARIANTS

Manifest = dict[str, TensorInfo]
VECTOR = TensorInfo((3,))
FILES = [
    ("meta", "sam_vit_b", None, "mask_decoder.iou_token.weight"),
    ("meta", "sam2.1_hiera_small", None, "memory_attention.norm.bias"),
    ("transformers", "sam_vit_l", None, "vision_encoder.neck.conv1.weight"),
    ("transformers", "sam2_hiera_tiny", "Sam2VideoModel", "prompt_encoder.point_embed.weight"),
    ("timm", "sam_vit_h", None, "blocks.31.mlp.fc2.bias"),
    ("muggled", "sam2.1_hiera_large", None, "mask_decoder.objptrgen.no_ptr_embed"),
]


@pytest.mark.parametrize(("layout", "variant", "model_class", "name"), FILES)
def test_one_tensor_missing_one_too_many_one_misshapen(
    layout: str, variant: str, model_class: str | None, name: str, manifest: Callable[..., Manifest]
) -> None:
    whole = manifest(layout, variant, model_class)
    damaged = {
        "missing": {key: info for key, info in whole.items() if key != name},
        "unexpected": whole | {"extra.thing": VECTOR},
        "misshapen": whole | {name: TensorInfo((2, 2, 2, 2, 2))},
    }
    for kind, tensors in damaged.items():
        with pytest.raises(LayoutError) as caught:
            detect(tensors)
        text = str(caught.value)
        assert f"{layout} {variant}" in text
        assert f"1 {kind}" in text
        assert ("extra.thing" if kind == "unexpected" else name) in text
        assert text.count(";") == 1
        if kind == "misshapen":
            assert "is 2x2x2x2x2, should be" in text

        found = detect(tensors, strict=False)
        assert variant in found.candidates
        assert found.layout == layout
        lengths = (len(found.missing), len(found.unexpected), len(found.misshapen))
        assert lengths == tuple(int(kind == one) for one in ("missing", "unexpected", "misshapen"))


def test_shapes_of_two_image_sides_in_one_file_are_named() -> None:
    mixed = dict(meta_tensors(VARIANTS["sam_vit_b"])) | {
        "image_encoder.pos_embed": TensorInfo((1, 32, 32, 768))
    }
    with pytest.raises(LayoutError, match=r"8 misshapen \(.*rel_pos_h is 127x64, should be 63x64"):
        detect(mixed)


def test_one_table_of_positions_that_is_not_square_contradicts_the_others() -> None:
    odd = dict(meta_tensors(VARIANTS["sam_vit_b"])) | {
        "image_encoder.pos_embed": TensorInfo((1, 64, 32, 768))
    }
    with pytest.raises(LayoutError, match=r"4 misshapen \(.*rel_pos_w is 127x64, should be 63x64"):
        detect(odd)


@pytest.mark.parametrize("seed", range(3))
def test_a_file_of_two_layouts_is_neither(seed: int, manifest: Callable[..., Manifest]) -> None:
    halves = [list(manifest(layout, "sam_vit_b").items()) for layout in ("meta", "transformers")]
    chosen = random.Random(seed)
    mixed = dict(item for half in halves for item in half if chosen.random() < 0.5)
    with pytest.raises(LayoutError, match=r"sam_vit_b.*missing.*unexpected"):
        detect(mixed)


def test_a_20_file_with_half_of_what_21_added_is_named(manifest: Callable[..., Manifest]) -> None:
    mixed = manifest("meta", "sam2_hiera_tiny") | {"obj_ptr_tpos_proj.weight": TensorInfo((64, 256))}
    with pytest.raises(LayoutError, match=r"sam2_hiera_tiny: 1 unexpected \(obj_ptr_tpos_proj.weight\)"):
        detect(mixed)


def test_sam_hq_is_named_as_sam_with_more(manifest: Callable[..., Manifest]) -> None:
    tensors = manifest("meta", "sam_vit_l") | {"mask_decoder.hf_token.weight": TensorInfo((1, 256))}
    with pytest.raises(LayoutError, match=r"meta sam_vit_l: 1 unexpected \(mask_decoder.hf_token.weight\)"):
        detect(tensors)


def test_another_width_is_named_with_the_shapes(manifest: Callable[..., Manifest]) -> None:
    tensors = {
        key: TensorInfo(tuple(80 if size == 96 else size for size in info.shape))
        for key, info in manifest("meta", "sam2_hiera_tiny").items()
    }
    with pytest.raises(LayoutError, match=r"nearest is meta sam2_hiera_tiny: \d+ misshapen"):
        detect(tensors)


def test_no_tensors_are_no_file() -> None:
    with pytest.raises(LayoutError, match="no tensors"):
        detect({})


@pytest.mark.parametrize(
    "tensors",
    [
        {"weight": VECTOR},
        {"": VECTOR, ".": VECTOR, "...": VECTOR},
        {f"layer{i}.conv{j}.weight": VECTOR for i in range(4) for j in range(4)},
        {f"model.layers.{i}.attention.wq.weight": VECTOR for i in range(32)},
        {"module." * 5000 + "x": VECTOR},
    ],
)
def test_other_files_are_not_sams(tensors: Manifest) -> None:
    with pytest.raises(LayoutError, match=r"(are those|is none) of a SAM or SAM 2 model"):
        detect(tensors)


def test_a_few_familiar_names_among_many_do_not_make_a_sam() -> None:
    tensors = {f"stuff.{i}.kernel": VECTOR for i in range(500)} | {"pos_embed": TensorInfo((1, 197, 768))}
    with pytest.raises(LayoutError, match="1 of the 501 names"):
        detect(tensors, strict=False)


def test_a_hundred_thousand_names_are_refused_soon() -> None:
    tensors = {f"a.b.c.d.{i}.blocks.{i}.norm1.weightless": VECTOR for i in range(100_000)}
    with pytest.raises(LayoutError, match="none of the 100000 names"):
        detect(tensors)


def test_long_runs_of_digits_take_linear_time() -> None:
    tensors = {"image_encoder.blocks." + "1" * 200_000 + "x.norm1.weight": VECTOR}
    with pytest.raises(LayoutError):
        detect(tensors)
