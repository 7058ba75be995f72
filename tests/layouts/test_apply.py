"""Plans carried out on values: every round trip gives the same bits, and copies that differ are refused."""

import zlib
from collections import Counter
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor

from samblocks.errors import LayoutError
from samblocks.layouts import (
    LAYOUTS,
    TensorInfo,
    apply,
    classes_of,
    expected,
    meta_tensors,
    plan,
    variants_of,
)
from samblocks.layouts.operations import Axes
from samblocks.variants import VARIANTS

Manifest = dict[str, TensorInfo]
TRIPS = [
    (layout, model_class, variant)
    for variant in ("sam_vit_b", "mobile_sam", "sam2_hiera_base_plus", "sam2.1_hiera_tiny")
    for layout in LAYOUTS
    if VARIANTS[variant] in variants_of(layout)
    for model_class in classes_of(layout, VARIANTS[variant])
]


def _shrunk(info: TensorInfo) -> TensorInfo:
    """The same number of axes, small: sizes that rules look at (1 and 4) stay as they are."""
    return TensorInfo(tuple(size if size in (1, 4) else 2 + size % 3 for size in info.shape), info.dtype)


def _value(key: str, info: TensorInfo) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    if info.dtype == "I64":
        return torch.randint(1, 99, info.shape, generator=generator)
    return torch.randn(info.shape, generator=generator)


def _file(infos: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
    small = {key: _shrunk(info) for key, info in infos.items()}
    return {key: _value(key, info) for key, info in small.items()}


def _convert(
    values: dict[str, Tensor], source: str, target: str, variant: str, **classes: str | None
) -> dict[str, Tensor]:
    dtypes = {torch.float32: "F32", torch.float16: "F16", torch.int64: "I64", torch.uint8: "U8"}
    infos = {key: TensorInfo(tuple(value.shape), dtypes[value.dtype]) for key, value in values.items()}
    planned = plan(infos, source=source, target=target, row=VARIANTS[variant], **classes)
    asked: Counter[str] = Counter()

    def get(key: str) -> Tensor:
        asked[key] += 1
        return values[key]

    given = list(apply(planned, get))
    done = dict(given)
    assert len(done) == len(given)
    assert [key for key, _ in given] == [key for step in planned.steps for key in step.targets]
    assert {key: tuple(value.shape) for key, value in done.items()} == {
        key: info.shape for key, info in planned.infos.items()
    }
    assert asked == Counter(key for step in planned.steps if step.targets for key in step.sources)
    return done


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value.dtype == other[key].dtype
        assert torch.equal(value, other[key]), key


@pytest.mark.parametrize(("layout", "model_class", "variant"), TRIPS)
def test_from_meta_and_back_every_bit_that_the_layout_holds(
    layout: str, model_class: str | None, variant: str
) -> None:
    values = _file(meta_tensors(VARIANTS[variant]))
    there = _convert(values, "meta", layout, variant, model_class=model_class)
    back = _convert(there, layout, "meta", variant, source_class=model_class)
    lost = values.keys() - back.keys()
    if layout == "muggled" and "sam2" in variant:
        assert not back["no_mem_pos_enc"].any()
        back["no_mem_pos_enc"] = values["no_mem_pos_enc"]
    _same({key: value for key, value in values.items() if key not in lost}, back)
    subset = layout == "timm" or model_class == "Sam2Model"
    assert bool(lost) == subset


@pytest.mark.parametrize(("layout", "model_class", "variant"), TRIPS)
def test_to_meta_and_back_every_bit(layout: str, model_class: str | None, variant: str) -> None:
    values = _convert(
        _file(meta_tensors(VARIANTS[variant])), "meta", layout, variant, model_class=model_class
    )
    middle = _convert(values, layout, "meta", variant, source_class=model_class)
    _same(values, _convert(middle, "meta", layout, variant, model_class=model_class))


def test_from_one_foreign_layout_to_another_is_the_same_as_over_meta() -> None:
    for variant in ("sam_vit_l", "sam2.1_hiera_small"):
        metas = _file(meta_tensors(VARIANTS[variant]))
        sides = {
            layout: _convert(metas, "meta", layout, variant) for layout in ("transformers", "muggled", "timm")
        }
        for source in ("transformers", "muggled"):
            for target in ("transformers", "muggled", "timm"):
                straight = _convert(sides[source], source, target, variant)
                if source == "muggled" and target == "transformers" and "sam2" in variant:
                    name = "no_memory_positional_encoding"
                    assert not straight[name].any()
                    straight[name] = sides[target][name]
                _same(straight, sides[target])


def test_the_four_points_are_packed_in_order() -> None:
    values = _file(meta_tensors(VARIANTS["sam2_hiera_tiny"]))
    done = _convert(values, "meta", "transformers", "sam2_hiera_tiny")
    rows = done["prompt_encoder.point_embed.weight"]
    for label in range(4):
        assert torch.equal(rows[label], values[f"sam_prompt_encoder.point_embeddings.{label}.weight"][0])


def test_muggleds_points_are_background_foreground_and_two_corners() -> None:
    values = _file(meta_tensors(VARIANTS["sam_vit_b"]))
    done = _convert(values, "meta", "muggled", "sam_vit_b")
    names = (
        "point_encoder.bg_embed",
        "point_encoder.fg_embed",
        "box_encoder.tl_embed",
        "box_encoder.br_embed",
    )
    for label, name in enumerate(names):
        assert torch.equal(
            done[f"prompt_encoder.{name}"], values[f"prompt_encoder.point_embeddings.{label}.weight"]
        )


def test_muggleds_position_embedding_has_channels_first() -> None:
    values = _file(meta_tensors(VARIANTS["sam_vit_b"]))
    values["image_encoder.pos_embed"] = torch.arange(24.0).reshape(1, 2, 3, 4)
    planned = _convert(values, "meta", "muggled", "sam_vit_b")
    turned = planned["image_encoder.posenc.base_embedding_bchw"]
    assert turned.shape == (1, 4, 2, 3)
    assert turned[0, 3, 1, 2] == values["image_encoder.pos_embed"][0, 1, 2, 3]


def test_copies_do_not_share_memory_and_parts_neither() -> None:
    done = _convert(
        _file(meta_tensors(VARIANTS["sam2_hiera_tiny"])), "meta", "transformers", "sam2_hiera_tiny"
    )
    copies = [value for key, value in done.items() if key.endswith("positional_embedding")]
    assert len(copies) == 2
    assert copies[0].data_ptr() != copies[1].data_ptr()
    back = _convert(done, "transformers", "meta", "sam2_hiera_tiny")
    parts = [back[f"sam_prompt_encoder.point_embeddings.{label}.weight"] for label in range(4)]
    assert len({part.untyped_storage().data_ptr() for part in parts}) == 4


def test_what_needs_no_change_is_not_copied() -> None:
    values = _file(meta_tensors(VARIANTS["sam_vit_b"]))
    done = _convert(values, "meta", "transformers", "sam_vit_b")
    name = "image_encoder.blocks.3.attn.qkv.weight"
    assert done["vision_encoder.layers.3.attn.qkv.weight"].data_ptr() == values[name].data_ptr()


@pytest.mark.parametrize("change", [lambda value: value + 1e-6, torch.neg, lambda value: value * torch.nan])
def test_copies_that_differ_are_refused(change: Callable[[Tensor], Tensor]) -> None:
    values = _convert(_file(meta_tensors(VARIANTS["sam_vit_b"])), "meta", "transformers", "sam_vit_b")
    name = "prompt_encoder.shared_embedding.positional_embedding"
    values[name] = change(values[name])
    with pytest.raises(LayoutError, match=rf"shared_image_embedding.positional_embedding and {name}.*differ"):
        _convert(values, "transformers", "meta", "sam_vit_b")


def test_copies_are_compared_bit_for_bit() -> None:
    values = _convert(_file(meta_tensors(VARIANTS["sam_vit_b"])), "meta", "transformers", "sam_vit_b")
    names = [key for key in values if key.endswith("positional_embedding")]
    for name in names:
        values[name] = torch.full_like(values[name], torch.nan)
    _convert(values, "transformers", "meta", "sam_vit_b")
    values[names[0]], values[names[1]] = torch.zeros(2, 4), -torch.zeros(2, 4)
    with pytest.raises(LayoutError, match="differ"):
        _convert(values, "transformers", "meta", "sam_vit_b")


def test_half_precision_stays_half() -> None:
    values = {key: value.half() for key, value in _file(meta_tensors(VARIANTS["sam2_hiera_tiny"])).items()}
    done = _convert(values, "meta", "timm", "sam2_hiera_tiny")
    assert {value.dtype for value in done.values()} == {torch.float16}
    assert torch.equal(done["head.norm.weight"], torch.ones(768, dtype=torch.float16))
    assert not done["head.norm.bias"].any()


def test_muggleds_description_is_written_as_bytes(manifest: Callable[..., Manifest]) -> None:
    done = _convert(_file(meta_tensors(VARIANTS["sam2_hiera_large"])), "meta", "muggled", "sam2_hiera_large")
    config = done["config_muggled_samv2"]
    assert config.dtype == torch.uint8
    assert tuple(config.shape) == manifest("muggled", "sam2_hiera_large")["config_muggled_samv2"].shape
    assert bytes(config.tolist()).startswith(b'{"features_per_image_token":144,')


def test_a_value_of_another_shape_than_planned_is_refused() -> None:
    infos = {"image_encoder.pos_embed": TensorInfo((1, 64, 64, 768))}
    planned = plan(infos, source="meta", target="muggled", row=VARIANTS["sam_vit_b"])
    with pytest.raises(LayoutError, match=r"image_encoder\.pos_embed has 2 axes"):
        dict(apply(planned, lambda _: torch.zeros(64, 768)))


@pytest.mark.parametrize(
    ("before", "after", "shape"),
    [
        ("c", "1 c 1 1", (5,)),
        ("1 h w c", "1 c h w", (1, 2, 3, 4)),
        ("a b", "b 1 a", (2, 3)),
        ("1 1 c", "1 c 1 1", (1, 1, 7)),
    ],
)
def test_axes_do_to_values_what_they_do_to_shapes(before: str, after: str, shape: tuple[int, ...]) -> None:
    operation, value = Axes(before, after), torch.randn(shape)
    (turned,) = operation.apply([value], ["x"])
    assert tuple(turned.shape) == operation.infer([TensorInfo(shape)])[0].shape
    (back,) = operation.inverse.apply([turned], ["x"])
    assert torch.equal(back, value)


def test_only_one_steps_tensors_are_asked_for_at_a_time() -> None:
    values = _file(expected("transformers", VARIANTS["sam2_hiera_tiny"], "Sam2VideoModel"))
    infos = {key: TensorInfo(tuple(value.shape)) for key, value in values.items()}
    planned = plan(infos, source="transformers", target="meta", row=VARIANTS["sam2_hiera_tiny"])
    values["prompt_encoder.shared_embedding.positional_embedding"] = values[
        "shared_image_embedding.positional_embedding"
    ]
    asked: list[str] = []
    stream = apply(planned, lambda key: asked.append(key) or values[key])
    next(stream)
    assert len(asked) == len(planned.steps[0].sources)
