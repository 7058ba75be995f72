"""Files and folders that are no single checkpoint: read as one, or named for what they are, with the next step."""

import json
import warnings

import pytest
import torch
from pickle_parts import archive_of, tensor_of, text
from safetensors.torch import save_file
from synthetic import sparse, values
from torch import nn

from samblocks import VARIANTS
from samblocks.checkpoints import inspect, load
from samblocks.checkpoints.reading.read import read
from samblocks.errors import CheckpointError
from samblocks.layouts import expected

STATE = {name: values(name, (3, 4)) for name in ("a", "b", "c", "d")}


def shards(folder, state, count=2, ending="safetensors"):
    """Write a state dict in shards with an index; returns the index."""
    folder.mkdir(exist_ok=True)
    names = list(state)
    weights: dict[str, str] = {}
    for number in range(count):
        shard = f"model-{number + 1:05d}-of-{count:05d}.{ending}"
        part = {name: state[name] for name in names[number::count]}
        save_file(part, folder / shard) if ending == "safetensors" else torch.save(part, folder / shard)
        weights |= dict.fromkeys(part, shard)
    index = folder / f"model.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weights}))
    return index


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_shards_are_read_as_one(tmp_path, ending, mmap):
    index = shards(tmp_path / "a", STATE, 3, ending)
    for path in (index, tmp_path / "a"):
        file = read(path, mmap=mmap)
        assert file.tensors.keys() == STATE.keys()
        assert file.path == index
        assert "3 shards" in file.container
        assert all(torch.equal(file.get(name), tensor) for name, tensor in STATE.items())
        assert file.stored_bytes == sum(tensor.nbytes for tensor in STATE.values())
        assert file.shared == frozenset()
        assert file.file_bytes == sum(
            one.stat().st_size for one in (tmp_path / "a").iterdir() if one != index
        )


def test_one_shard_is_never_taken_for_all(tmp_path):
    index = shards(tmp_path, STATE)
    with pytest.raises(
        CheckpointError, match=r"one shard of a checkpoint of several: give its index .*\.index\.json"
    ):
        read(tmp_path / "model-00001-of-00002.safetensors")
    index.unlink()
    with pytest.raises(CheckpointError, match=r"2 shards of a checkpoint and without an index"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": "../b.safetensors"}, "no file of its folder"),
        ({"a": "/etc/passwd"}, "no file of its folder"),
        ({"a": 3}, "no file of its folder"),
        ({"a": "gone.safetensors"}, "names 1 shard, and 1 file of them missing here, such as gone"),
        ({"x": "model-00001-of-00002.safetensors"}, "do not fit together"),
        ({f"{n}": f"{n}" for n in range(1001)}, "more than 1,000 shards"),
        ([], "no weight_map"),
        (None, "no weight_map"),
    ],
)
def test_an_index_that_lies(tmp_path, weights, words):
    index = shards(tmp_path, STATE)
    index.write_text(json.dumps({"weight_map": weights}))
    with pytest.raises(CheckpointError, match=words):
        read(index)


@pytest.mark.parametrize("raw", ["", "{", "[1]", '{"weight_map": ' + "[" * 100_000])
def test_an_index_that_is_none(tmp_path, raw):
    (tmp_path / "a.index.json").write_text(raw)
    with pytest.raises(CheckpointError, match=r"is empty|is no JSON|no JSON object"):
        read(tmp_path / "a.index.json")


def test_a_folder_of_transformers_gives_the_image_size(tmp_path):
    variant = VARIANTS["sam2.1_hiera_tiny"]
    config = {"model_type": "sam2_video", "vision_config": {"backbone_config": {"image_size": [512, 512]}}}
    sparse(tmp_path / "model.safetensors", expected("transformers", variant))
    assert load(tmp_path / "model.safetensors").image_size == 1024
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_maskmem": 7}))
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert load(path).image_size == 512
    assert load(tmp_path, image_size=256).image_size == 256
    report = inspect(tmp_path)
    assert report.complete
    assert [fact.value for fact in report.facts if fact.name == "image_size"] == [512]
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    assert load(tmp_path).image_size == 1024


def test_programs_are_named(tmp_path):
    model = nn.Linear(2, 2).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, torch.ones(1, 2)), str(tmp_path / "a.pt"))
    with pytest.raises(CheckpointError, match=r"TorchScript program.*torch\.jit\.load"):
        read(tmp_path / "a.pt")
    (tmp_path / "b.pt2").write_bytes(archive_of(b".", name="archive/archive_format"))
    with pytest.raises(CheckpointError, match=r"exported program.*torch\.export\.load"):
        read(tmp_path / "b.pt2")


def test_distributed_checkpoints_are_named(tmp_path):
    from torch.distributed.checkpoint.state_dict_saver import save

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save({"model": nn.Linear(2, 2).state_dict()}, checkpoint_id=str(tmp_path / "a"))
    for path in (tmp_path / "a", tmp_path / "a" / "__0_0.distcp", tmp_path / "a" / ".metadata"):
        with pytest.raises(CheckpointError, match=r"torch\.distributed\.checkpoint.*dcp_to_torch_save"):
            inspect(path)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\x89HDF\r\n", "HDF5 file.*take the checkpoint"),
        (b"GGUF\3\0\0\0", "GGUF file.*take the checkpoint"),
        (b"\x08\x07\x12\x07pytorch", "ONNX model.*take the checkpoint"),
        (b"\x93NUMPY\1", "numpy array.*torch.save"),
    ],
)
def test_what_others_write_is_named(tmp_path, head, words):
    (tmp_path / "a.pt").write_bytes(head + bytes(600))
    with pytest.raises(CheckpointError, match=words):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("key", [None, "model"])
def test_a_whole_pickled_model_gets_two_lines(tmp_path, key):
    model = nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.Conv2d(1, 1, 1), nn.LayerNorm(2))
    torch.save(model if key is None else {"epoch": 3, key: model}, tmp_path / "a.pt")
    where = "" if key is None else r"\['model'\]"
    lines = rf"model = torch\.load\('a\.pt', weights_only=False\){where}; torch\.save\(model\.state_dict\(\)"
    with pytest.raises(
        CheckpointError, match=rf"whole pickled model, torch.nn.modules.container.Sequential.*{lines}"
    ):
        read(tmp_path / "a.pt")


def test_what_no_model_needs_gets_no_recipe(tmp_path):
    call = b"cos\nsystem\n" + text("true") + b"\x85R"
    layer = b"ctorch.nn.modules.linear\nLinear\n)\x81"
    state = b"\x80\x02}(" + text("model") + layer + text("x") + call + text("a") + tensor_of() + b"u."
    (tmp_path / "a.pt").write_bytes(archive_of(state))
    with pytest.raises(CheckpointError, match=r"os\.system") as caught:
        read(tmp_path / "a.pt")
    assert "weights_only=False" not in str(caught.value)
