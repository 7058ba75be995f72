"""Reading files: every format, envelope and odd storage gives the bits that were saved, mapped and untouched."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from synthetic import saved, values
from torch import nn

from samblocks.checkpoints.reading.read import read
from samblocks.errors import CheckpointError
from samblocks.layouts.tensors import TORCH_DTYPES

BASE = values("base", (10, 12))


def odd_state():
    """Tensors of every dtype and of every way to lie in a storage."""
    state = {name: (values(name, (3, 4)) * 100).abs().to(dtype) for name, dtype in TORCH_DTYPES.items()}
    state |= {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "one": torch.ones(1, 1, 1),
        "turned": BASE.t(),
        "slice": BASE[2:4],
        "columns": BASE[:, 3:5],
        "tied": BASE,
        "parameter": nn.Parameter(values("parameter", (2, 3))),
        "channels_last": values("c", (2, 3, 4, 5)).to(memory_format=torch.channels_last),
    }
    return state


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def assert_same(file, state):
    assert list(file.tensors) == list(state)
    for name, want in state.items():
        got = file.get(name)
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        assert got.is_contiguous()
        assert torch.equal(bits(got), bits(want)), name


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saved(tmp_path, zipped, mmap):
    state = odd_state()
    path = tmp_path / "any.name"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    file = read(path, mmap=mmap)
    assert file.container == ("torch" if zipped else "torch (before 1.6)")
    assert_same(file, state)
    if zipped:  # torch cannot read back all dtypes that it wrote in its old format
        assert_same(file, torch.load(path, weights_only=True))


def test_what_safetensors_saved(tmp_path):
    state = {name: tensor.detach().clone().contiguous() for name, tensor in odd_state().items()}
    save_file(state, tmp_path / "a.pt", metadata={"format": "pt", "epoch": "3"})
    file = read(tmp_path / "a.pt")
    assert file.container == "safetensors"
    assert file.metadata == {"format": "pt", "epoch": "3"}
    assert_same(file, {name: state[name] for name in file.tensors})
    assert file.tensors.keys() == state.keys()


def test_an_odd_offset(tmp_path):
    """A header whose length is no multiple of 8 is allowed; the tensors behind it cannot be used in place."""
    raw = b'{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}'
    data = torch.tensor([1.0, -2.0, 3.5])
    (tmp_path / "a.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + data.numpy().tobytes())
    assert len(raw) % 4
    assert torch.equal(read(tmp_path / "a.safetensors").get("a"), data)


ENVELOPES = {
    "": lambda state: state,
    "model": lambda state: {"model": state},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "name": "run"},
    "model_state": lambda state: {"model_state": state, "init": {}},
    "model.state_dict": lambda state: {"model": {"state_dict": state}},
    "net": lambda state: {"net": state, "epoch": 7},
}


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_envelopes(tmp_path, envelope):
    state = {"weight": values("weight", (2, 3)), "bias": values("bias", (2,))}
    (tmp_path / "a.pt").write_bytes(saved(ENVELOPES[envelope](state)))
    file = read(tmp_path / "a.pt")
    assert file.envelope == envelope
    assert_same(file, state)


def test_a_training_checkpoint_says_what_it_leaves_aside(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(values("x", (5, 3))).sum().backward()
    optimizer.step()
    scaler = {"scale": 65536.0, "growth": torch.tensor(2)}
    everything = {
        "epoch": 3,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler,
    }
    torch.save(everything, tmp_path / "a.pt")
    file = read(tmp_path / "a.pt")
    assert_same(file, model.state_dict())
    unused = {part.name: (part.tensors, part.nbytes) for part in file.ignored}
    moments = 2 * sum(p.numel() * 4 for p in model.parameters()) + 4 * len(list(model.parameters()))
    assert unused == {"epoch": (0, 0), "optimizer": (12, moments), "scaler": (1, 8)}


def test_what_is_no_tensor_in_a_state_dict_is_left_aside(tmp_path):
    torch.save({"weight": torch.ones(2), "version": 3, "steps": [1, 2]}, tmp_path / "a.pt")
    file = read(tmp_path / "a.pt")
    assert list(file.tensors) == ["weight"]
    assert [part.name for part in file.ignored] == ["version", "steps"]


@pytest.mark.parametrize("ending", [".pt", ".old", ".safetensors"])
def test_tensors_are_views_of_the_file_until_written_to(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    state = {"a": values("a", (64, 64)), "b": values("b", (8,))}
    if ending == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=ending == ".pt")
    before = path.read_bytes()
    file = read(path)
    first, second = file.get("a"), file.get("a")
    assert first.data_ptr() == second.data_ptr()
    parameter = nn.Parameter(first)
    torch.optim.SGD([parameter], lr=0.5).step()
    parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD([parameter], lr=0.5).step()
    assert torch.equal(parameter, state["a"] - 0.5)
    assert path.read_bytes() == before
    assert torch.equal(read(path).get("a"), state["a"])


def test_tensors_that_share_bytes_do_not_share_updates(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"whole": BASE, "part": BASE[2:4], "alone": torch.ones(3)}, path)
    file = read(path)
    assert file.shared == {"whole", "part"}
    whole, part = file.get("whole"), file.get("part")
    whole.zero_()
    assert torch.equal(part, BASE[2:4])
    assert file.stored_bytes == BASE.nbytes + 12


def test_unmapped_tensors_outlive_the_file(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": BASE.clone()}, path)
    tensor = read(path, mmap=False).get("a")
    os.truncate(path, 0)
    assert torch.equal(tensor, BASE)


def test_a_link_is_followed(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    (tmp_path / "b").symlink_to("a.pt")
    assert list(read(tmp_path / "b").tensors) == ["a"]


def test_a_file_that_may_not_be_read(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be opened"):
        read(Path(os.fsdecode(b"nul\0byte")))


def test_long_lists_beside_the_state_dict_are_no_hindrance(tmp_path):
    losses = [float(n) for n in range(600_000)]
    history = {n: {"loss": 0.5, "rate": n} for n in range(20_000)}
    torch.save({"model": {"a": torch.ones(2)}, "losses": losses, "history": history}, tmp_path / "a.pt")
    assert list(read(tmp_path / "a.pt").tensors) == ["a"]


def test_what_is_shared_is_counted_for_each_that_leads_to_it(tmp_path):
    state = {"a": torch.ones(2)}
    inner = [torch.ones(3), {"b": torch.ones(4)}]
    torch.save({"model": state, "best": state, "one": inner, "two": (inner, inner)}, tmp_path / "a.pt")
    assert [(part.name, part.tensors, part.nbytes) for part in read(tmp_path / "a.pt").ignored] == [
        ("best", 1, 8),
        ("one", 2, 28),
        ("two", 2, 28),
    ]
