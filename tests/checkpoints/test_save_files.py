"""Writing files: upstream's own loaders take them, and a failure leaves everything as it was."""

import os
import stat
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from synthetic import equal_states, filled, values

from samblocks.checkpoints import inspect, load, save
from samblocks.checkpoints.tensor_source import TensorSource
from samblocks.checkpoints.writing.write import write
from samblocks.errors import CheckpointError
from samblocks.layouts.tensors import DTYPE_NAMES, describe
from samblocks.models import PromptEncoder, build
from samblocks.models.skeleton import skeleton

DTYPES = [dtype for dtype in DTYPE_NAMES if dtype not in (torch.complex64,)]
STORABLE = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.uint8,
]


def state_of(dtypes):
    state = {
        f"z{i}.{j}é": (values(str(dtype), (3, 4)) * 100).abs().to(dtype)
        for i, dtype in enumerate(dtypes)
        for j in "ba"
    }
    return state | {"scalar": torch.tensor(2.5), "empty": torch.empty(0, 3), "a.b": values("a.b", (5,))}


def source_of(state, envelope=""):
    return TensorSource(describe(state), state.__getitem__, envelope)


def test_safetensors_are_those_of_the_library_to_the_byte(tmp_path):
    state = state_of(DTYPES)
    write(tmp_path / "ours.safetensors", source_of(state))
    save_file(state, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("envelope", ["", "model"])
def test_torch_reads_what_is_written(tmp_path, envelope, mmap):
    state = state_of(STORABLE)
    write(tmp_path / "a.pt", source_of(state, envelope))
    read = torch.load(tmp_path / "a.pt", weights_only=True, mmap=mmap)
    assert equal_states(read[envelope] if envelope else read, state)
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None


def test_tensors_of_a_pt_lie_where_they_can_be_used(tmp_path):
    write(tmp_path / "a.pt", source_of(state_of(STORABLE)))
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        for entry in archive.infolist():
            with archive.open(entry) as record:
                assert record._orig_compress_start % 64 == 0  # type: ignore[attr-defined]  # zipfile knows it alone


def test_a_dtype_without_a_storage_class(tmp_path):
    with pytest.raises(CheckpointError, match=r"F8_E4M3.*\.safetensors"):
        write(tmp_path / "a.pt", source_of({"a": torch.ones(2).to(torch.float8_e4m3fn)}))
    assert not list(tmp_path.iterdir())


def test_the_bytes_must_be_what_was_announced(tmp_path):
    state = {"a": torch.ones(2)}
    with pytest.raises(CheckpointError, match="announced"):
        write(tmp_path / "a.pt", TensorSource(describe(state), lambda name: torch.ones(3)))


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"old")
    state = {"a": torch.ones(2), "b": torch.ones(2)}

    def fails(name):
        if name == "b":
            raise OSError(28, "No space left on device")
        return state[name]

    with pytest.raises(CheckpointError, match=r"a\..* cannot be written: No space left on device\."):
        write(path, TensorSource(describe(state), fails))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone.a\.pt cannot be written: its folder does not exist"):
        write(tmp_path / "gone" / "a.pt", source_of({"a": torch.ones(2)}))


@pytest.mark.parametrize("name", ["a.bin", "a", "a.pt.gz"])
def test_an_ending_that_is_none(tmp_path, name):
    with pytest.raises(ValueError, match=r"path must end in \.pt, \.pth, \.safetensors"):
        save(PromptEncoder(256, (64, 64), (1024, 1024), 16), tmp_path / name)


def test_permissions_and_links_stay(tmp_path):
    (tmp_path / "real.pt").write_bytes(b"old")
    (tmp_path / "real.pt").chmod(0o640)
    (tmp_path / "link.pt").symlink_to("real.pt")
    write(tmp_path / "link.pt", source_of({"a": torch.ones(2)}))
    assert (tmp_path / "link.pt").is_symlink()
    assert stat.S_IMODE((tmp_path / "real.pt").stat().st_mode) == 0o640
    assert torch.load(tmp_path / "real.pt", weights_only=True)["a"].tolist() == [1, 1]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    write(tmp_path / "a.pt", source_of({"a": torch.ones(2)}))
    (tmp_path / "b").touch()
    assert (tmp_path / "a.pt").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.fixture(scope="module")
def mobile():
    return filled(build("mobile_sam"))


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.safetensors"])
def test_a_model_comes_back(tmp_path, mobile, name):
    save(mobile, tmp_path / name)
    assert equal_states(load(tmp_path / name).state_dict(), mobile.state_dict())


def test_envelopes_are_those_of_meta(tmp_path, mobile):
    save(mobile, tmp_path / "a.pt")
    assert inspect(tmp_path / "a.pt").envelope == ""
    decoder = filled(build("sam2.1_hiera_tiny").sam_mask_decoder)
    save(decoder, tmp_path / "b.pt")
    assert equal_states(torch.load(tmp_path / "b.pt", weights_only=True), decoder.state_dict())


def test_half_precision_is_rounded_once(tmp_path, mobile):
    save(mobile, tmp_path / "a.safetensors", dtype=torch.float16)
    assert inspect(tmp_path / "a.safetensors").dtypes == {"F16": 412, "I64": 27}
    state, want = load(tmp_path / "a.safetensors").state_dict(), mobile.state_dict()
    for name, tensor in want.items():
        assert torch.equal(state[name], tensor.half().float() if tensor.is_floating_point() else tensor)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not written"):
        save(torch.nn.Linear(2, 2), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="layout must be one of"):
        save(PromptEncoder(256, (64, 64), (1024, 1024), 16), tmp_path / "a.pt", layout="sam2")
    with pytest.raises(ValueError, match="dtype must be"):
        save(PromptEncoder(256, (64, 64), (1024, 1024), 16), tmp_path / "a.pt", dtype=torch.int8)
    with pytest.raises(CheckpointError, match="does not exist for mobile_sam"):
        save(skeleton("mobile_sam"), tmp_path / "a.pt", layout="timm")
    assert not list(tmp_path.iterdir())
