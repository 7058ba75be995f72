"""From a file to a model: the right values, or one sentence that says why not."""

import os
import re

import pytest
import torch
from synthetic import equal_states, filled, half, saved, sparse, values
from torch import nn

from parity.bench.memory import private_memory
from samblocks.checkpoints import load, save
from samblocks.errors import CheckpointError
from samblocks.layouts import TensorInfo, expected, meta_tensors
from samblocks.models import PromptEncoder, SAMModel, build
from samblocks.variants import VARIANTS

TINY_20, TINY_21 = "sam2_hiera_tiny", "sam2.1_hiera_tiny"


@pytest.fixture(scope="module")
def mobile():
    """A whole model that is small."""
    return filled(build("mobile_sam"))


@pytest.fixture(scope="module")
def mobile_file(mobile, tmp_path_factory):
    path = tmp_path_factory.mktemp("mobile") / "mobile_sam.pt"
    save(mobile, path)
    return path


def refusal(path, **options):
    with pytest.raises(CheckpointError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert str(path) in message
    return message


def test_a_loaded_model_is_whole(mobile, mobile_file):
    model = load(mobile_file)
    assert isinstance(model, SAMModel)
    assert equal_states(model.state_dict(), mobile.state_dict())
    assert not model.training
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())
    entries = [*model.parameters(), *model.buffers()]
    assert {entry.device.type for entry in entries} == {"cpu"}
    assert torch.equal(model.pixel_mean, mobile.pixel_mean)
    biases = "image_encoder.layers.1.blocks.0.attn.attention_bias_idxs"
    assert torch.equal(model.get_buffer(biases), mobile.get_buffer(biases))


def test_the_name_of_a_file_says_nothing(mobile, mobile_file, tmp_path):
    path = tmp_path / "sam2.1_hiera_large.safetensors"
    os.link(mobile_file, path)
    assert equal_states(load(path).state_dict(), mobile.state_dict())


def test_loading_takes_no_copy_of_the_weights(tmp_path):
    path = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS["sam_vit_h"]))
    before = private_memory()
    model = load(path)
    assert path.stat().st_size > 2_560_000_000
    assert private_memory() - before < 50_000_000
    assert model.image_encoder.blocks[31].mlp.lin1.weight.shape == (5120, 1280)


def test_half_precision_is_widened_exactly(tmp_path):
    tensors = half(meta_tensors(VARIANTS[TINY_21]))
    name = "memory_encoder.fuser.layers.1.pwconv1.weight"
    given = {name: values(name, tensors[name].shape).half()}
    path = sparse(tmp_path / "a.safetensors", tensors, given)
    wide = load(path).get_parameter(name)
    assert wide.dtype == torch.float32
    assert torch.equal(wide, given[name].float())
    kept = load(path, dtype="file")
    assert {entry.dtype for entry in kept.state_dict().values()} == {torch.float16}
    assert torch.equal(kept.get_parameter(name), given[name])
    assert load(path, dtype=torch.bfloat16).get_parameter(name).dtype == torch.bfloat16


def test_other_dtypes(mobile, mobile_file):
    model = load(mobile_file, dtype=torch.float64)
    assert model.pixel_mean.dtype == torch.float64
    counters = {name for name, entry in model.state_dict().items() if entry.dtype == torch.int64}
    assert len(counters) == 27
    state = mobile.state_dict()
    for name, entry in model.state_dict().items():
        assert torch.equal(entry, state[name].to(entry.dtype))


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_load_train_save_over_it_load(mobile, tmp_path, ending):
    path = tmp_path / f"a{ending}"
    save(mobile, path)
    model = load(path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    save(model, path)
    assert os.listdir(tmp_path) == [path.name]
    again = load(path)
    assert equal_states(again.state_dict(), model.state_dict())
    trained, values_now = {name for name, _ in mobile.named_parameters()}, again.state_dict()
    for name, entry in mobile.state_dict().items():
        assert torch.equal(values_now[name], entry - 0.25 if name in trained else entry)


def test_an_unmapped_model_outlives_its_file(mobile, mobile_file, tmp_path):
    path = tmp_path / "a.pt"
    path.write_bytes(mobile_file.read_bytes())
    model = load(path, mmap=False)
    os.truncate(path, 100)
    assert equal_states(model.state_dict(), mobile.state_dict())


def test_a_training_checkpoint_with_prefixes(mobile, tmp_path):
    state = {f"module.{name}": entry for name, entry in mobile.state_dict().items()}
    optimizer = torch.optim.SGD(mobile.parameters(), lr=0.1, momentum=0.9)
    everything = {"model": state, "optimizer": optimizer.state_dict(), "epoch": 12, "loss": {"mask": 0.25}}
    (tmp_path / "checkpoint.pt").write_bytes(saved(everything))
    model, report = load(tmp_path / "checkpoint.pt", strict="explain")
    assert equal_states(model.state_dict(), mobile.state_dict())
    assert (report.envelope, report.prefix, report.complete) == ("model", "module.", True)
    assert {part.name for part in report.ignored} == {"optimizer", "epoch", "loss"}
    assert report.totals["renamed"][0] == len(state)


# What does not fit


def changed(mobile, tmp_path, change):
    state = dict(mobile.state_dict())
    change(state)
    path = tmp_path / "changed.pt"
    path.write_bytes(saved(state))
    return path


def test_one_missing_and_one_too_many(mobile, tmp_path):
    def change(state):
        del state["mask_decoder.iou_token.weight"]
        state["mask_decoder.hf_token.weight"] = torch.ones(1, 256)

    message = refusal(changed(mobile, tmp_path, change))
    assert "does not fit mobile_sam: 1 missing (mask_decoder.iou_token.weight)" in message
    assert "1 unexpected (mask_decoder.hf_token.weight)" in message
    assert "the nearest is mobile_sam (meta layout), from which 2 of 439 tensors differ" in message


def test_a_misshapen_tensor(mobile, tmp_path):
    def change(state):
        state["prompt_encoder.no_mask_embed.weight"] = torch.ones(1, 128)

    message = refusal(changed(mobile, tmp_path, change))
    assert "1 misshapen (prompt_encoder.no_mask_embed.weight is 1x128, should be 1x256)" in message


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_a_weight_of_a_dtype_that_is_none(mobile, tmp_path, dtype):
    def change(state):
        name = "prompt_encoder.no_mask_embed.weight"
        state[name] = state[name].to(dtype)

    message = refusal(changed(mobile, tmp_path, change))
    assert "which is no dtype for it" in message


def test_a_fine_tuned_20_given_as_21(tmp_path):
    path = sparse(tmp_path / "my_sam2.1_tuned.safetensors", meta_tensors(VARIANTS[TINY_20]))
    message = refusal(path, variant=TINY_21)
    assert f"does not fit {TINY_21}: 3 missing" in message
    for name in ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias"):
        assert name in message
    assert f"its tensors are those of {TINY_20} (meta layout), every one of them" in message
    assert bool(load(path).add_tpos_enc_to_obj_ptrs) is False


def test_another_size_than_was_said(tmp_path):
    path = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS[TINY_21]))
    message = refusal(path, variant="sam2.1_hiera_small")
    assert "50 missing" in message
    assert f"its tensors are those of {TINY_21}" in message


def test_a_file_of_something_else(tmp_path):
    (tmp_path / "a.pt").write_bytes(saved({"layer1.0.conv1.weight": torch.ones(3, 3)}))
    assert "holds no model that is known here" in refusal(tmp_path / "a.pt")


def test_an_explained_load_loads_what_fits(mobile, tmp_path):
    def change(state):
        del state["mask_decoder.iou_token.weight"]
        state["mask_decoder.mask_tokens.weight"] = torch.ones(5, 256)
        state["mask_decoder.hf_token.weight"] = torch.ones(1, 256)

    drawn = torch.get_rng_state()
    model, report = load(changed(mobile, tmp_path, change), strict="explain")
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not report.complete
    assert [gap.name for gap in report.missing] == ["mask_decoder.iou_token.weight"]
    assert [(gap.name, gap.found) for gap in report.misshapen] == [
        ("mask_decoder.mask_tokens.weight", (5, 256))
    ]
    assert {row.name for row in report.unexplained} == {
        "mask_decoder.mask_tokens.weight",
        "mask_decoder.hf_token.weight",
    }
    loaded, given = model.state_dict(), mobile.state_dict()
    differing = {name for name in given if not torch.equal(loaded[name], given[name])}
    assert differing == {"mask_decoder.iou_token.weight", "mask_decoder.mask_tokens.weight"}
    assert not any(entry.is_meta for entry in loaded.values())


def test_copies_of_one_tensor_that_differ(tmp_path):
    names = (
        "shared_image_embedding.positional_embedding",
        "prompt_encoder.shared_embedding.positional_embedding",
    )
    tensors = expected("transformers", VARIANTS[TINY_21])
    given = {names[0]: torch.ones(2, 128)}
    path = sparse(tmp_path / "a.safetensors", tensors, given)
    assert "contradicts itself" in refusal(path)
    given[names[1]] = torch.ones(2, 128)
    sparse(path, tensors, given)
    assert load(path).sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.unique() == 1


# Parts


def test_a_part_of_a_whole_file(mobile, mobile_file):
    decoder = load(mobile_file, component="mask_decoder")
    assert equal_states(decoder.state_dict(), mobile.mask_decoder.state_dict())
    _, report = load(mobile_file, component="prompt_encoder", strict="explain")
    assert report.complete
    assert report.totals["dropped"][0] == 439 - 17
    assert {row.why for row in report.rows if row.status == "dropped"} == {"not part of prompt_encoder"}


def test_a_part_alone(mobile, tmp_path):
    save(mobile.image_encoder, tmp_path / "encoder.safetensors")
    message = refusal(tmp_path / "encoder.safetensors")
    assert "holds image_encoder alone, not a whole model: load it with component='image_encoder'." in message
    encoder = load(tmp_path / "encoder.safetensors", component="image_encoder")
    assert equal_states(encoder.state_dict(), mobile.image_encoder.state_dict())
    assert "missing" in refusal(tmp_path / "encoder.safetensors", component="mask_decoder")


@pytest.mark.parametrize("prefix", ["", "sam_mask_decoder.", "model.sam_mask_decoder.", "module._orig_mod."])
def test_a_decoder_is_the_same_in_all_sizes(tmp_path, prefix):
    decoder = filled(build(TINY_21).sam_mask_decoder)
    state = {prefix + name: entry for name, entry in decoder.state_dict().items()}
    (tmp_path / "a.pt").write_bytes(saved(state))
    for component in ("mask_decoder", "sam_mask_decoder"):
        assert equal_states(load(tmp_path / "a.pt", component=component).state_dict(), decoder.state_dict())


def test_a_variant_is_asked_for_only_where_models_differ(tmp_path):
    trunk = sparse(tmp_path / "trunk.safetensors", expected("timm", VARIANTS[TINY_21]))
    assert type(load(trunk, component="trunk")).__name__ == "Hiera"
    image_part = sparse(
        tmp_path / "image.safetensors", expected("transformers", VARIANTS[TINY_21], "Sam2Model")
    )
    assert "is a Sam2Model file, which holds the image part alone" in refusal(image_part)
    assert "component='image_encoder'" in refusal(image_part, variant=TINY_21)
    with pytest.raises(
        CheckpointError, match=rf"fit each of {TINY_20}, {TINY_21} .*: say which with variant="
    ):
        load(image_part, strict="explain")
    encoder = load(image_part, component="image_encoder")
    assert encoder.trunk.blocks[0].attn.num_heads == 1
    model, report = load(image_part, variant=TINY_20, strict="explain")
    assert not model.no_obj_embed_spatial
    assert {gap.name.split(".")[0] for gap in report.missing} >= {"memory_attention", "memory_encoder"}


def test_a_prompt_encoder_alone_may_be_of_either_generation(tmp_path):
    prompts = filled(PromptEncoder(256, (64, 64), (1024, 1024), 16))
    save(prompts, tmp_path / "a.pt")
    message = refusal(tmp_path / "a.pt", component="prompt_encoder")
    assert "sam_vit_b" in message
    assert TINY_20 in message
    assert "they differ in" in message
    for variant, labels in (("sam_vit_h", False), (TINY_20, True)):
        part = load(tmp_path / "a.pt", component="prompt_encoder", variant=variant)
        assert bool(part.embed_corner_labels) is labels
        assert equal_states(part.state_dict(), prompts.state_dict())


# Other sizes


def test_a_smaller_image(tmp_path):
    tensors = meta_tensors(VARIANTS["sam_vit_b"])
    name = "image_encoder.pos_embed"
    given = {name: values(name, tensors[name].shape)}
    path = sparse(tmp_path / "a.safetensors", tensors, given)
    encoder, report = load(path, component="image_encoder", image_size=512, strict="explain")
    assert encoder.pos_embed.shape == (1, 32, 32, 768)
    grid = given[name].permute(0, 3, 1, 2)
    want = nn.functional.interpolate(grid, size=(32, 32), mode="bicubic").permute(0, 2, 3, 1)
    assert torch.equal(encoder.get_parameter("pos_embed"), want)
    assert encoder.blocks[2].attn.rel_pos_h.shape == (63, 64)
    assert encoder.blocks[0].attn.rel_pos_h.shape == (27, 64)
    assert {gap.name: gap.why for gap in report.resized} == {
        name: "bicubic",
        **{f"image_encoder.blocks.{i}.attn.rel_pos_{axis}": "linear" for i in (2, 5, 8, 11) for axis in "hw"},
    }
    assert report.complete
    (row,) = [row for row in report.rows if row.name == name]
    assert (row.status, row.op) == ("converted", "resized")


def test_relative_positions_are_resized_as_upstream_does_while_it_runs(tmp_path):
    from samblocks.blocks import get_rel_pos

    tensors = meta_tensors(VARIANTS["sam_vit_b"])
    name = "image_encoder.blocks.2.attn.rel_pos_h"
    given = {name: values(name, tensors[name].shape)}
    path = sparse(tmp_path / "a.safetensors", tensors, given)
    table = load(path, component="image_encoder", image_size=768).blocks[2].attn.rel_pos_h
    assert torch.equal(get_rel_pos(48, 48, table), get_rel_pos(48, 48, given[name]))


def test_a_file_of_another_size_says_so(tmp_path):
    path = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS["sam_vit_b"], image_size=512))
    message = refusal(path)
    assert (
        "image_encoder.pos_embed is 1x32x32x768, should be 1x64x64x768: it fits with image_size=512"
        in message
    )
    model, report = load(path, image_size=512, strict="explain")
    assert model.prompt_encoder.image_embedding_size == (32, 32)
    assert report.resized == ()
    assert report.complete


@pytest.mark.parametrize("frames", [1, 4, 15])
def test_other_numbers_of_memories(tmp_path, frames):
    name = "maskmem_tpos_enc"
    given = {name: values(name, (7, 1, 1, 64))}
    path = sparse(tmp_path / "a.safetensors", meta_tensors(VARIANTS[TINY_21]), given)
    model, report = load(path, num_maskmem=frames, strict="explain")
    rows = model.maskmem_tpos_enc
    assert rows.shape == (frames, 1, 1, 64)
    for age in range(frames):
        assert torch.equal(rows[frames - 1 - age], given[name][6 - min(age, 6)])
    assert [(gap.name, gap.why) for gap in report.resized] == [(name, "by-age")]
    assert model.num_maskmem == frames
    again = tmp_path / "again.safetensors"
    sparse(again, {**meta_tensors(VARIANTS[TINY_21]), name: TensorInfo((frames, 1, 1, 64), "F32")})
    if frames != 1:
        assert f"it fits with num_maskmem={frames}" in refusal(again)
    assert load(again, num_maskmem=frames).num_maskmem == frames


# Names and arguments


def test_a_name_is_fetched_and_a_path_beats_it(mobile, mobile_file, tmp_path, monkeypatch):
    from samblocks.checkpoints import published

    asked = []

    def fake(name, *, source=None):
        asked.append((name, source))
        return mobile_file

    monkeypatch.setattr(published, "fetch", fake)
    monkeypatch.chdir(tmp_path)
    assert equal_states(load("mobile_sam").state_dict(), mobile.state_dict())
    load("mobile_sam.pt", source="ultralytics")
    assert asked == [("mobile_sam", None), ("mobile_sam.pt", "ultralytics")]
    (tmp_path / "mobile_sam").write_bytes(b"")
    assert "is empty" in refusal("mobile_sam")
    assert "No such file" in refusal(tmp_path / "gone" / "mobile_sam.pt")
    assert len(asked) == 2


def test_arguments_are_checked(mobile_file):
    for options, words in (
        ({"variant": "sam2_hiera_tin"}, "variant must be one of"),
        ({"component": "decoder"}, "component must be one of image_encoder, prompt_encoder, mask_decoder"),
        ({"strict": False}, 'strict must be True or "explain"'),
        ({"dtype": "float16"}, 'dtype must be a torch.dtype, None or "file"'),
        ({"dtype": torch.int32}, "dtype must be torch.float32"),
        ({"num_maskmem": 4}, "num_maskmem"),
        ({"image_size": 100}, "image_size=100"),
    ):
        with pytest.raises(ValueError, match=re.escape(words)):
            load(mobile_file, **options)
