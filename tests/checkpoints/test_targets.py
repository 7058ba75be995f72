"""What is written is what `load` takes, to a place that can have it: decided before a file is opened."""

import os
import stat

import pytest
import torch
from synthetic import filled, sparse

from samblocks import VARIANTS
from samblocks.checkpoints import convert_file, load, save
from samblocks.errors import CheckpointError
from samblocks.layouts import TensorInfo, expected
from samblocks.layouts.tensors import TORCH_DTYPES, WEIGHT_DTYPES, is_stored_as
from samblocks.models import PromptEncoder

TINY = VARIANTS["sam2.1_hiera_tiny"]


@pytest.fixture
def part():
    return filled(PromptEncoder(256, (64, 64), (1024, 1024), 16))


@pytest.fixture
def nothing_opens(monkeypatch):
    """Writing anything fails, so that what is refused is refused before."""

    def opens(*_, **__):
        raise AssertionError("a file is opened")

    monkeypatch.setattr("samblocks.checkpoints.writing.write.write_atomically", opens)


@pytest.mark.parametrize(
    ("dtype", "options"), [("F16", {}), ("I64", {}), ("F8_E4M3", {"dtype": torch.float16})]
)
def test_a_weight_is_converted_where_it_is_loaded(tmp_path, dtype, options):
    tensors = dict(expected("meta", TINY))
    tensors["no_mem_embed"] = TensorInfo(tensors["no_mem_embed"].shape, dtype)
    source, target = sparse(tmp_path / "a.safetensors", tensors), tmp_path / "b.safetensors"
    if dtype in WEIGHT_DTYPES:
        convert_file(source, target, to="transformers", **options)
        load(target)
        return
    with pytest.raises(CheckpointError, match="no_mem_embed"):
        load(source)
    with pytest.raises(CheckpointError, match=f"no_memory_embedding: {dtype}"):
        convert_file(source, target, to="transformers", **options)
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_weight_is_stored_as_floating_point():
    assert {dtype for dtype in TORCH_DTYPES if is_stored_as(dtype, "F32")} == {"F64", "F32", "F16", "BF16"}


def test_a_counter_stays_an_integer():
    assert [dtype for dtype in TORCH_DTYPES if is_stored_as(dtype, "I64")] == [
        "U64", "I64", "U32", "I32", "U16", "I16", "I8", "U8"
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
@pytest.mark.parametrize("layout", ["meta", "transformers"])
def test_a_model_is_saved_where_it_is_loaded(tmp_path, part, nothing_opens, dtype, layout):
    part.no_mask_embed.weight = torch.nn.Parameter(torch.ones(1, 256).to(dtype), requires_grad=False)
    with pytest.raises(CheckpointError, match=r"no_mask_embed\.weight: (I8|BOOL|C64|F8_E4M3)"):
        save(part, tmp_path / "a.safetensors", layout=layout)


PLACES = {
    "pipe": (lambda path: os.mkfifo(path), "a pipe or a device"),
    "link to a pipe": (
        lambda path: (os.mkfifo(path.parent / "p"), path.symlink_to("p")),
        "a pipe or a device",
    ),
    "link to a device": (lambda path: path.symlink_to("/dev/null"), "a pipe or a device"),
    "folder": (lambda path: path.mkdir(), "a folder"),
    "loop": (lambda path: path.symlink_to(path.name), "symbolic links"),
    "link into nowhere": (lambda path: path.symlink_to("gone/b.pt"), "folder does not exist"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_what_cannot_become_a_file_is_refused_before_any_work(tmp_path, part, nothing_opens, kind):
    make, words = PLACES[kind]
    path = tmp_path / "a.pt"
    make(path)
    before = {name: stat.S_IFMT(os.lstat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    for attempt in (
        lambda: save(part, path),
        lambda: convert_file(tmp_path / "not read.pt", path, to="meta"),
    ):
        with pytest.raises(CheckpointError, match=rf"a\.pt cannot be written: .*{words}"):
            attempt()
    assert {name: stat.S_IFMT(os.lstat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)} == before


@pytest.mark.parametrize("name", ["a\0.pt", "n" * 253 + ".pt", "a/b.pt", "file.pt/b.pt"])
def test_a_name_that_is_none(tmp_path, part, nothing_opens, name):
    (tmp_path / "file.pt").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        save(part, f"{tmp_path}/{name}")
    assert os.listdir(tmp_path) == ["file.pt"]


def test_a_name_near_the_limit(tmp_path, part):
    path = tmp_path / ("n" * 252 + ".pt")
    save(part, path)
    assert os.listdir(tmp_path) == [path.name]
    load(path, component="prompt_encoder", variant="sam_vit_b")
