"""Files with several tables of tensors: named with their counts, chosen by a key, or joined if they are parts."""

from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from synthetic import equal_states, filled, saved

from samblocks import cli
from samblocks.checkpoints import convert_file, inspect, load
from samblocks.checkpoints.reading.read import read
from samblocks.errors import CheckpointError
from samblocks.models import build


@pytest.fixture(scope="module")
def mobile():
    """The prompts and the decoder of a model that is small."""
    return filled(build("mobile_sam"))


@pytest.fixture(scope="module")
def decoder(mobile):
    return mobile.mask_decoder.state_dict()


def other(state):
    return {name: entry + 1 for name, entry in state.items()}


def loaded(path, state, **options):
    return equal_states(load(path, component="mask_decoder", **options).state_dict(), state)


def file_of(path, content):
    path.write_bytes(saved(content))
    return path


def test_two_tables_are_named_with_their_counts(tmp_path, decoder):
    loss = {"loss": {"weight": torch.ones(1)}, "epoch": 3}
    path = file_of(tmp_path / "a.pt", {"net": decoder, "net_ema": other(decoder), **loss})
    with pytest.raises(CheckpointError) as caught:
        load(path, component="mask_decoder")
    count = len(decoder)
    for part in (
        f"'net' ({count} tensors)",
        f"'net_ema' ({count} tensors)",
        "'loss' (1 tensor)",
        "3 tables",
    ):
        assert part in str(caught.value)
    assert "say which with envelope='net' (--envelope net)" in str(caught.value)
    assert loaded(path, decoder, envelope="net")
    assert loaded(path, other(decoder), envelope="net_ema")
    file = read(path, envelope="net_ema")
    assert file.envelope == "net_ema"
    assert {entry.name: entry.tensors for entry in file.ignored} == {"net": count, "loss": 1, "epoch": 0}


def test_deeper_tables(tmp_path, decoder):
    inner = {"state_dict": other(decoder), "step": 1}
    path = file_of(tmp_path / "a.pt", {"trainer": {"net": decoder, "ema.model": inner}})
    for key, state in (("trainer.net", decoder), ("trainer.ema.model", other(decoder))):
        assert loaded(path, state, envelope=key)
        assert key in str(inspect(path, envelope=key))
    for unclear in ("trainer", None):
        with pytest.raises(CheckpointError, match=r"2 tables of tensors, .*net.*ema\.model"):
            load(path, component="mask_decoder", envelope=unclear)
    path = file_of(tmp_path / "b.pt", {"trainer": {"inner": {"net": decoder}}, "epoch": 1})
    assert loaded(path, decoder)


def test_a_key_that_is_not_there(tmp_path, decoder):
    path = file_of(tmp_path / "a.pt", {"net": decoder, "ema": decoder})
    with pytest.raises(CheckpointError, match=r"no table 'emma'.* it holds 'net' \(120 tensors\), 'ema'"):
        load(path, envelope="emma", component="mask_decoder")
    save_file(decoder, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"has no names that begin with emma\., only such as"):
        load(tmp_path / "a.safetensors", envelope="emma", component="mask_decoder")


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_what_names_begin_with_chooses_too(tmp_path, decoder, ending):
    both = {f"student.{name}": entry for name, entry in decoder.items()}
    both |= {f"teacher.{name}": entry for name, entry in other(decoder).items()}
    path = tmp_path / f"a{ending}"
    if ending == ".pt":
        file_of(path, both)
    else:
        save_file(both, path)
    with pytest.raises(CheckpointError, match="say which with envelope='student'"):
        load(path, component="mask_decoder")
    assert loaded(path, decoder, envelope="student")
    assert loaded(path, other(decoder), envelope="teacher.")
    assert [entry.tensors for entry in read(path, envelope="student").ignored] == [len(decoder)]


@pytest.mark.parametrize("wrapped", [False, True])
def test_one_table_for_each_part_is_one_model(tmp_path, mobile, wrapped):
    parts = {name: child.state_dict() for name, child in mobile.named_children()}
    parts["prompt_encoder"] = {"state_dict": parts["prompt_encoder"], "note": "x"}
    whole = {**parts, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "epoch": 1}
    path = file_of(tmp_path / "a.pt", {"model": whole} if wrapped else whole)
    assert equal_states(load(path).state_dict(), mobile.state_dict())
    assert {entry.name for entry in read(path).ignored} == {"optimizer", "epoch"}


def test_tables_of_parts_and_tensors_beside_them(tmp_path, mobile):
    whole: dict[str, Any] = {"image_encoder": {}, "mask_decoder": {}, "prompt_encoder": {}}
    for name, entry in mobile.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "image_encoder":
            whole[part][rest] = entry
        else:
            whole[name] = entry
    path = file_of(tmp_path / "a.pt", whole)
    assert load(path).state_dict().keys() == mobile.state_dict().keys()


def test_parts_of_sam_2_under_the_names_that_people_give_them(tmp_path):
    model = build("sam2.1_hiera_tiny", device="meta")
    parts = {
        "neck": "image_encoder.neck",
        "mask_decoder": "sam_mask_decoder",
        "prompt_encoder": "sam_prompt_encoder",
    }
    content = {
        name: {key: torch.zeros(entry.shape) for key, entry in model.get_submodule(path).state_dict().items()}
        for name, path in parts.items()
    }
    path = file_of(tmp_path / "a.pt", content)
    for part, at in parts.items():
        held = load(path, component=part, variant="sam2.1_hiera_tiny").state_dict()
        assert held.keys() == model.get_submodule(at).state_dict().keys()


def test_the_commands_choose_too(tmp_path, decoder, mobile, capsys):
    whole = mobile.state_dict()
    path = str(file_of(tmp_path / "a.pt", {"net": whole, "ema": other(whole)}))
    assert cli.main(["inspect", path]) == 2
    assert "say which" in capsys.readouterr().err
    assert cli.main(["inspect", path, "--envelope", "ema"]) == 0
    out = str(tmp_path / "b.safetensors")
    assert cli.main(["convert", path, out, "--to", "meta"]) == 2
    assert cli.main(["convert", path, out, "--to", "meta", "--envelope", "ema"]) == 0
    assert loaded(out, other(decoder))
    convert_file(path, out, to="meta", envelope="net")
    assert loaded(out, decoder)


def test_tables_that_hold_themselves(tmp_path, decoder):
    around = {"mask_decoder": dict(decoder)}
    around["image_encoder"] = around
    around["mask_decoder"]["neck"] = around
    path = file_of(tmp_path / "a.pt", around)
    with pytest.raises(CheckpointError, match="tables of tensors"):
        load(path, component="mask_decoder")
    assert loaded(path, decoder, envelope="mask_decoder")
