"""Whatever comes from below leaves every door as one kind of error, with the path and the cause."""

import errno
import os
from importlib import import_module

import pytest
import torch
from pickle_parts import archive_of, tensor_of, text
from synthetic import filled, sparse

from samblocks import VARIANTS
from samblocks.checkpoints import convert_file, inspect, load, save
from samblocks.checkpoints.boundary import boundary
from samblocks.checkpoints.reading.read import read
from samblocks.errors import LONGEST, CheckpointError
from samblocks.layouts import TensorInfo, expected
from samblocks.models import PromptEncoder

EXCEPTIONS = [
    ValueError("bad value"),
    RuntimeError("bad\nin two lines"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad byte"),
    RecursionError("bad depth"),
    KeyError("bad key"),
    AssertionError(),
    OverflowError("bad number"),
    MemoryError(),
    OSError(errno.EIO, "bad disk"),
    ZeroDivisionError("bad \x1b[31m words" + "!" * 5000),
]
DOORS = {
    "read": (read, "samblocks.checkpoints.reading.read.read_zip"),
    "get": (lambda path: read(path).get("point_embeddings.0.weight"), "torch.frombuffer"),
    "inspect": (inspect, "samblocks.checkpoints.explain.detect"),
    "inspect, later": (inspect, "samblocks.checkpoints.explain.plan"),
    "load": (lambda path: load(path, component="prompt_encoder", variant="sam_vit_b"), "torch.frombuffer"),
    "load, later": (
        lambda path: load(path, component="prompt_encoder", variant="sam_vit_b"),
        "samblocks.checkpoints.load.materialize",
    ),
    "convert": (
        lambda path: convert_file(path, f"{path}.new.pt", to="meta", drop=True),
        "samblocks.checkpoints.conversion_plan.detect",
    ),
    "save": (
        lambda path: save(PromptEncoder(256, (64, 64), (1024, 1024), 16), path),
        "samblocks.checkpoints.save.describe",
    ),
    "save, later": (
        lambda path: save(PromptEncoder(256, (64, 64), (1024, 1024), 16), path),
        "samblocks.checkpoints.writing.write.write_torch",
    ),
}


@pytest.fixture(scope="module")
def part(tmp_path_factory):
    path = tmp_path_factory.mktemp("part") / "part.pt"
    save(filled(PromptEncoder(256, (64, 64), (1024, 1024), 16)), path)
    return path.read_bytes()


@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("door", DOORS)
def test_a_door_turns_what_comes_from_below(tmp_path, monkeypatch, part, door, error):
    path = tmp_path / "part.pt"
    path.write_bytes(part)
    call, below = DOORS[door]

    def fails(*_, **__):
        raise error

    module, _, name = below.rpartition(".")
    monkeypatch.setattr(import_module(module), name, fails)
    with pytest.raises(CheckpointError) as caught:
        call(path)
    message = str(caught.value)
    assert str(path) in message
    assert caught.value.__cause__ is error
    assert message.isprintable()
    assert len(message) <= LONGEST
    assert (
        "out of memory" if isinstance(error, MemoryError) else "bad" if error.args else type(error).__name__
    ) in message
    assert sorted(file.name for file in tmp_path.iterdir()) == ["part.pt"]
    assert path.read_bytes() == part


def test_what_is_asked_to_end_ends():
    with pytest.raises(KeyboardInterrupt), boundary("a.pt", "read"):
        raise KeyboardInterrupt


def test_a_wrong_argument_stays_one(tmp_path, part):
    path = tmp_path / "part.pt"
    path.write_bytes(part)
    for wrong in (
        lambda: load(path, variant="sam"),
        lambda: load(path, component="wings"),
        lambda: load(path, device="abacus"),
        lambda: load(path, dtype="half"),  # type: ignore[call-overload]
        lambda: convert_file(path, tmp_path / "b.pt", to="x"),
        lambda: convert_file(path, tmp_path / "b.pt", to="meta", model_class="x"),
        lambda: convert_file(path, tmp_path / "b.pt", to="meta", dtype=torch.int8),
    ):
        with pytest.raises(ValueError, match="must be"):
            wrong()


def test_a_file_that_is_cut_while_it_is_read(tmp_path, part):
    path = tmp_path / "part.pt"
    path.write_bytes(part)
    file = read(path, mmap=False)
    os.truncate(path, 1000)
    with pytest.raises(CheckpointError, match=r"part\.pt became shorter while it was read"):
        file.get("point_embeddings.0.weight")


def test_a_file_that_is_read_is_never_mapped(tmp_path, part, monkeypatch):
    path = tmp_path / "part.pt"
    path.write_bytes(part)

    def maps(*_, **__):
        raise AssertionError("mapped")

    whole = {name: read(path).get(name) for name in read(path).tensors}
    monkeypatch.setattr("samblocks.checkpoints.reading.mapped.mmap_module.mmap", maps)
    monkeypatch.delattr(os, "preadv", raising=False)
    file = read(path, mmap=False)
    assert all(torch.equal(file.get(name), tensor) for name, tensor in whole.items())


def test_shapes_that_overflow_and_keys_that_cannot_be_shown(tmp_path):
    path = tmp_path / "a.pt"
    big = b"\x8b" + (4000).to_bytes(4, "little") + b"\x7f" * 4000
    state = text("a") + tensor_of()
    empty = tensor_of(shape=(2**61 - 1, 2**61 - 1, 0), strides=(0, 0, 1))
    for pickled, words in (
        (b"\x80\x02}(" + big + b"Nu.", "no table of named tensors, only Opaque"),
        (b"\x80\x02g" + b"9" * 4200 + b"\n.", "cannot be read"),
        (b"\x80\x02}(" + text("\x1b" * 5000) + b"N" + state + state + b"u.", "twice"),
        (b"\x80\x02}" + text("a") + empty + b"s.", "impossible shape"),
    ):
        path.write_bytes(archive_of(pickled))
        with pytest.raises(CheckpointError, match=words) as caught:
            read(path)
        assert str(caught.value).isprintable()


def test_a_file_of_scalars_is_explained(tmp_path):
    tensors = {
        name: TensorInfo((), info.dtype) for name, info in expected("meta", VARIANTS["sam_vit_b"]).items()
    }
    report = inspect(sparse(tmp_path / "a.safetensors", tensors))
    assert len(report.misshapen) > 300
    assert not any(gap.why for gap in report.misshapen)
