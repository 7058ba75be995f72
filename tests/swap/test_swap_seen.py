"""What `verify` has seen: which modules ran, on what, and under autocast."""

import numpy as np
import pytest
import torch
from fake_hosts import picture, pipeline
from fake_transformers import decoder, maps
from torch import nn

from samblocks import SwapError, swap_blocks
from samblocks.models import FpnNeck, PromptEncoder
from samblocks.ops.fourier import fourier_features
from samblocks.swap.short_drive import as_images, is_pictures, made_up, short_drive
from samblocks.swap.verify import OutputVerdict, Verification
from samblocks.swap.watching import watching


def first_part(model, image):
    return model.norm(model.fuser(model.stem(image)))


def test_modules_that_did_not_run_make_it_incomplete():
    model = pipeline()
    report = swap_blocks(model)
    found = report.verify(picture(), run=first_part)
    assert not found
    assert not found.holds
    assert found.verdict == "INCOMPLETE"
    assert found.not_run == ("decoder", "memory")
    assert found.to_dict()["not_run"] == ["decoder", "memory"]
    text = str(found)
    assert "did not run" in text
    assert text.endswith("INCOMPLETE: 1 outputs, 2 swapped modules did not run")
    whole = report.verify(picture())
    assert whole
    assert whole.not_run == ()


def test_a_bad_output_is_worse_than_one_that_is_missing():
    rows = (OutputVerdict("a", "EXACT"), OutputVerdict("b", "DIVERGED"))
    assert Verification(rows, ("norm",)).verdict == "DIVERGED"
    assert Verification(rows[:1], ("norm",)).verdict == "INCOMPLETE"
    assert Verification(rows[:1]).verdict == "EXACT"
    assert not Verification(())


def test_a_callable_drives_the_host_with_and_without_the_model():
    model = pipeline()
    report = swap_blocks(model)
    assert report.verify(lambda given: given(picture())).verdict == "EXACT"
    assert report.verify(lambda: model(picture())).verdict == "EXACT"
    model.norm.eps = 1e-2
    assert not report.verify(lambda given: given(picture()))


def test_a_model_without_a_way_of_its_own_asks_for_inputs():
    report = swap_blocks(pipeline())
    with pytest.raises(SwapError, match=r"a Pipeline has no way of its own.*give its inputs"):
        report.verify()


class Grey(nn.Module):
    """Makes of three channels the one that the pipeline takes, in patches."""

    image_size = 4

    def __init__(self):
        super().__init__()
        self.inner = pipeline()

    def forward(self, images):
        return self.inner(images.mean(1, keepdim=True)[:1])


def test_pictures_of_every_form_are_one_picture(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    path = tmp_path / "a.png"
    image.fromarray(pixels).save(path)
    model = Grey()
    expected = as_images(pixels, model)
    assert expected.shape == (1, 3, 4, 4)
    for given in (path, str(path), image.fromarray(pixels), tmp_path):
        assert is_pictures(given)
        assert torch.equal(as_images(given, model), expected)
    for clip in ([pixels, path], (pixels, pixels), np.stack([pixels, pixels])):
        assert is_pictures(clip)
        assert torch.equal(as_images(clip, model), expected.expand(2, -1, -1, -1))
    assert not is_pictures(torch.zeros(1, 3, 4, 4))
    assert not is_pictures([])
    assert swap_blocks(model).verify(pixels).verdict == "EXACT"
    assert made_up(model).shape == (1, 3, 4, 4)
    assert short_drive(model) is None
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="holds no pictures"):
        as_images(tmp_path / "none", model)


def test_watching_leaves_modules_as_they_were():
    model = pipeline()
    before = {path: set(vars(module)) for path, module in model.named_modules()}
    with watching([model.norm, model.fuser]) as ran:
        model.norm(torch.ones(1, 16, 2, 2))
    assert ran == {id(model.norm)}
    assert {path: set(vars(module)) for path, module in model.named_modules()} == before


@pytest.mark.parametrize(
    ("make", "given"), [(pipeline, picture), (decoder, maps)], ids=["attributes", "transformers"]
)
def test_under_autocast_dtypes_and_bits_are_the_hosts(make, given):
    def run(model):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found = model(given())
        return found if isinstance(found, tuple) else (found,)

    model = make()
    before = run(model)
    report = swap_blocks(model)
    assert not report.kept
    after = run(model)
    assert [tensor.dtype for tensor in after] == [tensor.dtype for tensor in before]
    assert any(tensor.dtype == torch.bfloat16 for tensor in before)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_a_neck_that_widens_gives_float32_where_a_coarser_level_is_added():
    torch.manual_seed(0)
    neck = FpnNeck(8, [16, 8], fpn_interp_model="nearest").eval()
    levels = [torch.randn(1, 8, 4, 4), torch.randn(1, 16, 2, 2)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        kept = [level.dtype for level in neck(levels)[0]]
        neck.widens_top_down = True
        widened = neck(levels)[0]
        fine, coarse = (conv(level) for conv, level in zip(neck.convs, reversed(levels), strict=True))
    assert kept == [torch.bfloat16, torch.bfloat16]
    assert [level.dtype for level in widened] == [torch.float32, torch.bfloat16]
    doubled = fine.float().repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(widened[0], coarse + doubled)


@pytest.mark.parametrize("kind", ["points", "corners"])
def test_tokens_are_rounded_to_the_encoding_where_upstream_adds_in_place(kind):
    torch.manual_seed(0)
    encoder = PromptEncoder(16, (4, 4), (64, 64), mask_in_chans=16)
    click = torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1]])
    box = torch.tensor([[3.0, 5.0, 40.0, 50.0]])
    prompts = (click, None, None) if kind == "points" else (None, box, None)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        summed = encoder(*prompts)[0]
        setattr(encoder, f"rounds_{kind}", True)
        rounded = encoder(*prompts)[0]
        assert fourier_features(torch.rand(3, 2), torch.rand(2, 4)).dtype == torch.bfloat16
    assert summed.dtype == rounded.dtype == torch.float32
    assert torch.equal(rounded, summed.bfloat16().float())
    assert not torch.equal(rounded, summed)
    with torch.no_grad():
        exact = encoder(*prompts)[0]
        setattr(encoder, f"rounds_{kind}", False)
        assert torch.equal(encoder(*prompts)[0], exact)
