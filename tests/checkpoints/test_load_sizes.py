"""Images that are not square, other channels, and what is no size at all."""

import numpy as np
import pytest
import torch
from synthetic import sparse, values
from torch import nn

from samblocks.blocks import RoPEAttention
from samblocks.checkpoints import convert_file, inspect, load, save
from samblocks.errors import CheckpointError
from samblocks.layouts import detect, meta_tensors, plan
from samblocks.layouts.tensors import describe
from samblocks.models import SAMModel, build
from samblocks.models.build import assemble
from samblocks.variants import VARIANTS

TINY = "sam2.1_hiera_tiny"
WIDE = (64, 128)


@pytest.fixture(scope="module")
def vit_b(tmp_path_factory):
    """A file of the released size, with tables of positions that have values."""
    tensors = meta_tensors(VARIANTS["sam_vit_b"])
    names = [name for name in tensors if name.endswith(("pos_embed", "rel_pos_h", "rel_pos_w"))]
    given = {name: values(name, tensors[name].shape) for name in names}
    return sparse(tmp_path_factory.mktemp("sizes") / "a.safetensors", tensors, given)


@pytest.mark.parametrize("size", [(512, 1024), [512, 1024], np.array([512, 1024]).tolist()])
def test_a_pair_resizes_the_tables_of_sam_1_by_their_axes(vit_b, size):
    square, encoder = (load(vit_b, component="image_encoder", image_size=one) for one in (1024, size))
    grid = square.pos_embed.permute(0, 3, 1, 2)
    want = nn.functional.interpolate(grid, size=(32, 64), mode="bicubic").permute(0, 2, 3, 1)
    assert torch.equal(encoder.get_parameter("pos_embed"), want)
    for index in (2, 5, 8, 11):
        ours, theirs = encoder.blocks[index].attn, square.blocks[index].attn
        assert ours.rel_pos_h.shape == (63, 64)
        assert torch.equal(ours.rel_pos_w, theirs.rel_pos_w)
    assert encoder.blocks[0].attn.rel_pos_h.shape == (27, 64)


def test_a_pair_reaches_every_part(vit_b):
    model, report = load(vit_b, image_size=(512, 1024), strict="explain")
    prompts = model.prompt_encoder
    assert (prompts.image_embedding_size, prompts.input_image_size) == ((32, 64), (512, 1024))
    assert report.complete
    assert "(512, 1024)" in str(report)


def test_a_model_of_such_a_size_is_saved_and_recognised(vit_b, tmp_path):
    model = load(vit_b, image_size=(512, 1024))
    path = tmp_path / "a.safetensors"
    save(model, path)
    assert "shapes are those of image side (512, 1024)" in str(inspect(path))
    with pytest.raises(CheckpointError, match=r"it fits with image_size=\(512, 1024\)"):
        load(path)
    again = load(path, image_size=(512, 1024))
    assert torch.equal(*(one.get_parameter("image_encoder.pos_embed") for one in (again, model)))
    for layout in ("transformers", "timm", "muggled"):
        there = plan(
            describe(model.state_dict()), source="meta", target=layout, row=VARIANTS["sam_vit_b"]
        ).infos
        assert detect(there).image_size == (512, 1024)


@pytest.mark.parametrize("variant", [TINY, "mobile_sam"])
def test_a_pair_is_what_set_imgsz_makes(variant):
    given = build(variant)
    given.set_imgsz([128, 192])
    made = assemble(variant, image_size=(128, 192))
    made.load_state_dict(given.state_dict())
    given.eval()
    x = values("x", (1, 3, 128, 192))
    with torch.no_grad():
        outputs = [model.image_encoder(x) for model in (given, made)]
    first, second = [out["vision_features"] for out in outputs] if variant == TINY else outputs
    assert torch.equal(first, second)
    assert first.shape[-2:] == (8, 12)
    prompts = [
        model.sam_prompt_encoder if variant == TINY else model.prompt_encoder for model in (given, made)
    ]
    assert prompts[0].input_image_size == prompts[1].input_image_size == (128, 192)
    assert prompts[0].image_embedding_size == prompts[1].image_embedding_size == (8, 12)


def test_rope_grids_follow_a_pair():
    model = assemble(TINY, image_size=(128, 192))
    grids = {tuple(module.feat_sizes) for module in model.modules() if isinstance(module, RoPEAttention)}
    assert grids == {(12, 8)}
    assert model.image_size == 128


@pytest.mark.parametrize(
    "value", ["1024", 512.0, (512.0, 512), (512,), (512, 512, 3), True, 0, -512, {}, "ab"]
)
def test_what_is_no_size_is_refused_by_name(vit_b, value):
    with pytest.raises(ValueError, match=r"^image_size=.* must be a side in pixels, or a height and a width"):
        load(vit_b, image_size=value)


@pytest.mark.parametrize("name", ["num_maskmem", "in_chans"])
@pytest.mark.parametrize("value", ["7", 7.0, -1, False, (7, 7)])
def test_what_is_no_number_is_refused_by_name(vit_b, name, value):
    with pytest.raises(ValueError, match=rf"^{name}=.* must be an integer from"):
        load(vit_b, **{name: value})


@pytest.mark.parametrize(
    ("variant", "size", "unit"),
    [("sam_vit_b", (512, 1000), 16), ("mobile_sam", (500, 512), 16), (TINY, (512, 1008), 32)],
)
def test_sides_that_do_not_fit_are_named(variant, size, unit):
    with (
        torch.device("meta"),
        pytest.raises(ValueError, match=rf"image_size=\({size[0]}, {size[1]}\) .* of {unit}"),
    ):
        assemble(variant, image_size=size)
    if variant == TINY:
        with pytest.raises(ValueError, match="must be multiples of 32"):
            build(TINY, device="meta").set_imgsz(size)


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize("variant", ["sam_vit_b", "mobile_sam", TINY])
def test_other_channels(tmp_path, variant, channels):
    row = VARIANTS[variant]
    path = sparse(tmp_path / "a.safetensors", meta_tensors(row, in_chans=channels))
    with pytest.raises(CheckpointError, match=rf"it fits with in_chans={channels}\)"):
        load(path)
    assert f"images of {channels} channels" in str(inspect(path))
    model = load(path, in_chans=channels, image_size=WIDE if variant == TINY else None)
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert first.in_channels == channels
    if isinstance(model, SAMModel):
        assert torch.equal(model.pixel_std, torch.ones(channels, 1, 1))
        assert torch.equal(
            model.preprocess(torch.ones(channels, 1024, 1024)), torch.ones(channels, 1024, 1024)
        )
        with pytest.raises(ValueError, match=f"must have {channels} channels"):
            model.preprocess(torch.ones(3, 64, 64))
    else:
        assert model.image_encoder(torch.ones(1, channels, *WIDE))["vision_features"].shape == (1, 256, 4, 8)
    convert_file(path, tmp_path / "b.safetensors", to="meta")
    assert (
        load(tmp_path / "b.safetensors", in_chans=channels).state_dict().keys() == model.state_dict().keys()
    )
