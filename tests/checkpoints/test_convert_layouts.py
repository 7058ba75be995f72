"""Conversion: nothing is lost that the target holds, nothing is lost unsaid, and sizes are the published ones."""

import json
import os

import pytest
import torch
from synthetic import equal_states, filled, half, saved, sparse, values, weightless

from samblocks.checkpoints import convert, convert_file, inspect
from samblocks.checkpoints.conversion_plan import Named, prepare
from samblocks.checkpoints.published import lock
from samblocks.checkpoints.reading.read import read
from samblocks.checkpoints.tensor_source import TensorSource
from samblocks.checkpoints.writing.write_safetensors import lay_out
from samblocks.errors import CheckpointError, LayoutError
from samblocks.layouts import LAYOUTS, TensorInfo, classes_of, expected, meta_tensors, variants_of
from samblocks.layouts.tensors import describe
from samblocks.models import VARIANTS, build

TINY_20, TINY_21 = "sam2_hiera_tiny", "sam2.1_hiera_tiny"
ROUTES = [
    (layout, variant, model_class)
    for layout in LAYOUTS
    for variant in VARIANTS
    if VARIANTS[variant] in variants_of(layout)
    and (layout != "ultralytics" or variant.endswith(("sam", "tiny")))
    for model_class in classes_of(layout, VARIANTS[variant])
]


def first(tensor):
    return tensor[(0,) * tensor.dim()].item()


@pytest.mark.parametrize(("layout", "variant", "model_class"), ROUTES)
def test_there_and_back(layout, variant, model_class):
    """Every tensor has a number of its own, so that a wrong name cannot hide; `base` has none of them."""
    meta, base = (
        weightless(meta_tensors(VARIANTS[variant])),
        weightless(meta_tensors(VARIANTS[variant]), offset=8_000_000),
    )
    there = convert(meta, layout, drop=True, model_class=model_class)
    assert describe(there) == dict(expected(layout, VARIANTS[variant], model_class))
    assert list(there) == list(expected(layout, VARIANTS[variant], model_class))
    back = convert(there, "meta", base=base, drop=True)
    assert list(back) == list(meta)
    kept = {name for name in meta if first(back[name]) == first(meta[name])}
    assert kept | {name for name in meta if first(back[name]) == first(base[name])} == set(meta)
    lost = set(meta) - kept
    if layout in ("meta", "ultralytics") or model_class in ("SamModel", "SamHQModel", "Sam2VideoModel"):
        assert lost == set()
    elif layout == "muggled":
        assert lost == ({"no_mem_pos_enc"} if variant.startswith("sam2") else set())
    elif layout == "timm":
        part = "image_encoder.trunk." if variant.startswith("sam2") else "image_encoder."
        assert lost == {name for name in meta if not name.startswith(part)}
    else:
        assert {"maskmem_tpos_enc", "obj_ptr_proj.layers.0.weight"} < lost
        assert not [name for name in lost if name.startswith(("image_encoder.", "sam_"))]


@pytest.mark.parametrize("target", ["transformers", "muggled"])
def test_real_values_come_back_bit_for_bit(target):
    meta = filled(build(TINY_21)).state_dict()
    there = convert(meta, target, drop=True)
    back = convert(there, "meta")
    differing = [name for name, entry in meta.items() if not torch.equal(back[name], entry)]
    assert differing == ([] if target == "transformers" else ["no_mem_pos_enc"])
    points = [meta[f"sam_prompt_encoder.point_embeddings.{i}.weight"] for i in range(4)]
    if target == "transformers":
        assert torch.equal(there["prompt_encoder.point_embed.weight"], torch.cat(points))


def test_between_two_foreign_layouts():
    state = weightless(expected("transformers", VARIANTS["sam_vit_b"]))
    there = convert(state, "timm", drop=True)
    assert describe(there) == dict(expected("timm", VARIANTS["sam_vit_b"]))
    name = "vision_encoder.layers.3.mlp.lin1.weight"
    assert first(there["blocks.3.mlp.fc1.weight"]) == first(state[name])


PUBLISHED = [entry for entry in lock.entries() if entry.file.endswith(".safetensors")]


@pytest.mark.parametrize("entry", PUBLISHED, ids=lambda entry: entry.name)
def test_published_sizes(entry):
    """Worked out from the header, which is what a written file begins with (see the test below)."""
    there = expected(entry.layout, VARIANTS[entry.variant])
    assert lay_out(there)[2] == entry.bytes
    assert len(there) == entry.tensors


@pytest.mark.parametrize(
    ("variant", "wide", "narrow"),
    [
        ("sam2.1_hiera_tiny", 155906872, 77980668),
        ("sam2.1_hiera_small", 184303872, 92181820),
        ("sam2.1_hiera_base_plus", 323474320, 161773292),
        ("sam2.1_hiera_large", 897893808, 448999828),
        ("sam2_hiera_tiny", 155840544, None),
        ("sam2_hiera_small", 184237544, None),
        ("sam2_hiera_base_plus", 323407992, None),
        ("sam2_hiera_large", 897827480, None),
    ],
)
def test_published_sizes_of_meta_names_in_safetensors(variant, wide, narrow):
    """Sizes of files that others have published (Kijai/sam2-safetensors)."""
    assert lay_out(meta_tensors(VARIANTS[variant]))[2] == wide
    if narrow:
        assert abs(lay_out(half(meta_tensors(VARIANTS[variant])))[2] - narrow) < 64


def test_a_written_file_has_the_published_size(tmp_path):
    source = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS[TINY_21]))
    done = convert_file(source, tmp_path / "b.safetensors", to="transformers")
    assert (tmp_path / "b.safetensors").stat().st_size == 155908064
    assert (done.source, done.target, done.variant) == ("meta", "transformers", TINY_21)
    assert (done.model_class, done.tensors, done.nbytes) == ("Sam2VideoModel", 469, 155852040)
    assert (done.dropped, done.invented, done.from_base) == ((), (), ())
    assert inspect(tmp_path / "b.safetensors").locked_as == ("facebook/sam2.1-hiera-tiny/model.safetensors",)
    with (tmp_path / "b.safetensors").open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    assert header["__metadata__"] == {"format": "pt"}


# Files


@pytest.fixture(scope="module")
def mobile():
    return filled(build("mobile_sam")).state_dict()


@pytest.mark.parametrize("ending", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_files_of_every_ending(tmp_path, mobile, ending, dtype):
    (tmp_path / "in.pt").write_bytes(
        saved({"model": {f"module.{name}": entry for name, entry in mobile.items()}})
    )
    out = tmp_path / f"out{ending}"
    done = convert_file(tmp_path / "in.pt", out, to="ultralytics", dtype=dtype)
    file = read(out)
    assert (file.envelope, done.tensors) == ("", 439)
    for name, entry in mobile.items():
        want = entry.to(dtype) if dtype and entry.is_floating_point() else entry
        assert torch.equal(file.get(name), want)
    if ending != ".safetensors":
        assert list(torch.load(out, weights_only=True)) == list(mobile)


def test_a_file_is_converted_in_its_own_place(tmp_path, mobile):
    path = tmp_path / "a.safetensors"
    path.write_bytes(saved(mobile))
    before = path.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(path)
    for target in (path, tmp_path / "link.safetensors"):
        with pytest.raises(CheckpointError, match=r"is itself what is read.*--overwrite"):
            convert_file(path, target, to="meta")
    (tmp_path / "link.safetensors").unlink()
    assert path.read_bytes() == before
    convert_file(path, path, to="meta", overwrite=True)
    assert os.listdir(tmp_path) == ["a.safetensors"]
    file = read(path)
    assert file.container == "safetensors"
    assert equal_states({name: file.get(name) for name in mobile}, mobile)


def test_sam2_files_get_metas_envelope(tmp_path):
    source = sparse(tmp_path / "a.safetensors", expected("transformers", VARIANTS[TINY_20]))
    convert_file(source, tmp_path / "b.pt", to="meta")
    file = read(tmp_path / "b.pt")
    assert file.envelope == "model"
    assert dict(file.tensors) == dict(meta_tensors(VARIANTS[TINY_20]))


# What may be lost, and what is lacking


def prepared(given, to, **options):
    """What a conversion would do, and its result's names, without carrying it out."""
    base = options.pop("base", None)
    named = Named(TensorSource(describe(given), given.__getitem__), "the file")
    below = base and Named(TensorSource(describe(base), base.__getitem__), "base")
    source, done = prepare(named, to, drop=options.get("drop", False), base=below, model_class=None)
    return {name: source.get(name) for name in source.tensors}, done


def test_dropping_must_be_allowed_and_is_listed(tmp_path):
    source = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS[TINY_20]))
    with pytest.raises(CheckpointError, match=r"1 tensor that muggled has no place for \(no_mem_pos_enc\)"):
        convert_file(source, tmp_path / "b.safetensors", to="muggled")
    assert os.listdir(tmp_path) == ["a.safetensors"]
    whole = weightless(meta_tensors(VARIANTS[TINY_20]))
    there, done = prepared(whole, "muggled", drop=True)
    assert [name for name, _ in done.dropped] == ["no_mem_pos_enc"]
    assert [name for name, _ in done.invented] == ["config_muggled_samv2"]
    back, done = prepared(there, "meta")
    assert done.dropped == ()
    assert [name for name, _ in done.invented] == ["no_mem_pos_enc"]
    assert all(why for _, why in done.invented)
    assert first(back["no_mem_pos_enc"]) == 0
    back, done = prepared(there, "meta", base=whole)
    assert done.invented == ()
    assert done.from_base == ("no_mem_pos_enc",)
    assert first(back["no_mem_pos_enc"]) == first(whole["no_mem_pos_enc"])


def test_a_part_needs_a_base():
    whole = weightless(meta_tensors(VARIANTS[TINY_21]))
    image = convert(whole, "transformers", model_class="Sam2Model", drop=True)
    with pytest.raises(LayoutError, match=r"lacks 157 tensors of meta .*give a whole checkpoint as base"):
        convert(image, "meta")
    with pytest.raises(LayoutError, match=r"lacks .* tensors of meta .*give one that holds everything"):
        convert(image, "meta", base=image)
    with pytest.raises(
        LayoutError, match=rf"base is sam_vit_b, but the tensors are those of {TINY_20} or {TINY_21}"
    ):
        convert(image, "meta", base=weightless(meta_tensors(VARIANTS["sam_vit_b"])))
    other = weightless(expected("transformers", VARIANTS[TINY_20]), offset=8_000_000)
    mixed = convert(image, "meta", base=other)
    assert list(mixed) == list(meta_tensors(VARIANTS[TINY_20]))
    assert torch.equal(mixed["image_encoder.trunk.pos_embed"], whole["image_encoder.trunk.pos_embed"])
    assert torch.equal(mixed["maskmem_tpos_enc"], other["memory_temporal_positional_encoding"])


def test_a_base_may_be_a_file(tmp_path):
    base = sparse(tmp_path / "base.safetensors", meta_tensors(VARIANTS[TINY_21]))
    trunk = weightless(expected("timm", VARIANTS[TINY_21]))
    mixed = convert(trunk, "meta", base=base, drop=True)
    assert describe(mixed) == dict(meta_tensors(VARIANTS[TINY_21]))
    assert torch.equal(mixed["image_encoder.trunk.pos_embed"], trunk["pos_embed"])
    assert mixed["maskmem_tpos_enc"].abs().sum() == 0


def test_what_is_not_understood_is_dropped_only_when_that_is_allowed(tmp_path):
    whole = meta_tensors(VARIANTS[TINY_21])
    state = weightless(whole) | {"extra.weight": torch.ones(2)}
    with pytest.raises(LayoutError, match=r"1 tensor not understood \(extra\.weight\); .*--drop"):
        convert(state, "transformers")
    kept = convert(state, "transformers", drop=True)
    assert describe(kept) == dict(expected("transformers", VARIANTS[TINY_21]))
    source = sparse(tmp_path / "a.safetensors", {**whole, "extra.weight": TensorInfo((2,))})
    done = convert_file(source, tmp_path / "b.safetensors", to="meta", drop=True)
    assert done.dropped == (("extra.weight", "no tensor of meta has this name"),)


def test_what_is_missing_or_misshapen_is_refused_whatever_may_be_dropped():
    state = weightless(meta_tensors(VARIANTS[TINY_21])) | {"extra.weight": torch.ones(2)}
    del state["no_mem_embed"]
    with pytest.raises(LayoutError, match="no_mem_embed"):
        convert(state, "transformers", drop=True)
    state["no_mem_embed"] = torch.ones(3)
    with pytest.raises(LayoutError, match="no_mem_embed is 3, should be 1x1x256"):
        convert(state, "transformers", drop=True)


def test_the_input_is_not_changed():
    state = weightless(meta_tensors(VARIANTS["sam_vit_b"]))
    names, numbers = list(state), {name: entry.clone() for name, entry in list(state.items())[-20:]}
    convert(state, "transformers")
    assert list(state) == names
    assert all(torch.equal(state[name], entry) for name, entry in numbers.items())


def test_copies_that_differ_are_an_error(tmp_path):
    tensors = expected("transformers", VARIANTS[TINY_21])
    given = {"shared_image_embedding.positional_embedding": values("a", (2, 128))}
    source = sparse(tmp_path / "a.safetensors", tensors, given)
    with pytest.raises(CheckpointError, match="is not converted"):
        convert_file(source, tmp_path / "b.safetensors", to="meta")
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_tied_matrix_may_be_left_out():
    """transformers writes one of two equal copies of the matrix, so its SAM files have 314 tensors."""
    tensors = dict(expected("transformers", VARIANTS["sam_vit_b"]))
    assert len(tensors) == 315
    del tensors["prompt_encoder.shared_embedding.positional_embedding"]
    assert describe(convert(weightless(tensors), "meta")) == dict(meta_tensors(VARIANTS["sam_vit_b"]))


def test_a_written_file_leaves_the_tied_copy_out(tmp_path):
    """As transformers does: 314 tensors, and the size that transformers' own files have."""
    source = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS["sam_vit_b"]))
    done = convert_file(source, tmp_path / "b.safetensors", to="transformers")
    assert (done.tensors, len(read(tmp_path / "b.safetensors").tensors)) == (314, 314)
    assert (tmp_path / "b.safetensors").stat().st_size == 374979376
    assert (
        len(convert(weightless(meta_tensors(VARIANTS["sam_vit_b"])), "transformers")) == 315
    )  # what a module holds


def test_arguments_are_checked(tmp_path):
    state = weightless(meta_tensors(VARIANTS["sam_vit_b"]))
    with pytest.raises(ValueError, match="'keras' is unknown"):
        convert(state, "keras")
    with pytest.raises(ValueError, match="Sam2Model"):
        convert(state, "transformers", model_class="Sam2Model")
    with pytest.raises(TypeError, match=r"state_dict\['a'\] must be a tensor, not int"):
        convert({"a": 3}, "meta")  # type: ignore[dict-item]
    source = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS["sam_vit_b"]))
    with pytest.raises(ValueError, match="path must end in"):
        convert_file(source, tmp_path / "b.onnx", to="meta")
    with pytest.raises(ValueError, match="dtype must be"):
        convert_file(source, tmp_path / "b.pt", to="meta", dtype=torch.int8)
    with pytest.raises(CheckpointError, match="does not exist for mobile_sam"):
        convert_file(
            sparse(tmp_path / "m.safetensors", meta_tensors(VARIANTS["mobile_sam"])),
            tmp_path / "b.pt",
            to="timm",
        )
