"""Kept truths: served while all that they depend on is as it was, computed anew in every other case."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from parity import package
from parity.cases import find
from parity.run import reference_files, sources
from parity.run.truth_cache import UNUSED_DAYS, TruthCache
from parity.workers.reply import Reply

RIGHT = torch.arange(4.0, dtype=torch.float64)


class Computed:
    """Counts how often a truth is computed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Reply:
        self.times += 1
        return Reply("ok", "", {"out": RIGHT.clone(), "more/0": torch.tensor([True])}, ())


def get(
    cache: TruthCache, compute: Computed, *, case: str = "MLPBlock/relu", **facts: Any
) -> Mapping[str, Tensor]:
    reference = SimpleNamespace(name="meta", module="parity.references.meta.library")
    client: Any = SimpleNamespace(reference=reference, versions=facts.get("versions", {"torch": "1"}))
    inputs = {"x": facts.get("x", torch.ones(2, 3))}
    reply = cache.get(client, find(case), inputs, facts.get("weights"), compute)
    assert list(reply.outputs) == ["out", "more/0"]
    return reply.outputs


def test_a_truth_is_computed_once(tmp_path: Path) -> None:
    compute = Computed()
    for _ in range(3):
        assert torch.equal(get(TruthCache(tmp_path / "truths"), compute)["out"], RIGHT)
    assert compute.times == 1
    assert len(list((tmp_path / "truths").iterdir())) == 1


@pytest.mark.parametrize(
    "facts",
    [
        {"versions": {"torch": "2"}},
        {"x": torch.zeros(2, 3)},
        {"x": torch.ones(3, 2).t()},
        {"case": "MLPBlock/gelu"},
    ],
    ids=["version", "inputs", "memory layout", "case"],
)
def test_what_was_given_otherwise_is_another_truth(tmp_path: Path, facts: dict[str, Any]) -> None:
    compute = Computed()
    get(TruthCache(tmp_path), compute)
    get(TruthCache(tmp_path), compute, **facts)
    assert compute.times == 2


def test_installed_files_make_another_truth(tmp_path: Path) -> None:
    compute = Computed()
    for installed, times in (({"meta": "a"}, 1), ({"meta": "b"}, 2), ({"meta": "a"}, 2), ({"meta": None}, 3)):
        get(TruthCache(tmp_path, installed), compute)
        assert compute.times == times
    assert len(list(tmp_path.iterdir())) == 2  # what cannot be told is not kept


def test_truths_that_no_run_asks_for_go_in_the_end(tmp_path: Path) -> None:
    compute = Computed()
    cache = TruthCache(tmp_path)
    for versions in ({"torch": "1"}, {"torch": "2"}):
        get(cache, compute, versions=versions)
    other = tmp_path / "files-of-meta.json"
    other.write_text("{}")
    long_ago = time.time() - (UNUSED_DAYS + 1) * 86400
    for file in tmp_path.iterdir():
        os.utime(file, (long_ago, long_ago))
    get(cache, compute, versions={"torch": "2"})  # asked for again, and so of today
    assert cache.prune() == 1
    assert other.exists()
    get(cache, compute, versions={"torch": "2"})
    assert compute.times == 2
    get(cache, compute, versions={"torch": "1"})
    assert compute.times == 3


def damaged(good: bytes) -> dict[str, bytes]:
    length = 8 + int.from_bytes(good[:8], "little")
    header = json.loads(good[8:length])
    note = header["__metadata__"]
    flipped, swapped = bytearray(good), bytearray(good)
    flipped[-9] ^= 1
    swapped[length : length + 16] = good[length + 8 : length + 16] + good[length : length + 8]

    def noted(**changes: Any) -> bytes:
        tensors = safetensors.torch.load(good)
        return safetensors.torch.save(tensors, {k: v for k, v in (note | changes).items() if v is not None})

    return {
        "half a file": good[: len(good) // 2],
        "empty": b"",
        "seven bytes": b"\x01" * 7,
        "length of the header": b"\xff" * 8 + good[8:],
        "damaged header": b"\x10" + bytes(7) + b"{" * 16,
        "deep header": (4000).to_bytes(8, "little") + b"[" * 4000,
        "no safetensors": b"hello, world: this is another file",
        "a list": (2).to_bytes(8, "little") + b"[]",
        "one bit flipped": bytes(flipped),
        "two values swapped": bytes(swapped),
        "bytes at the end": good + b"\0",
        "without a note": safetensors.torch.save(safetensors.torch.load(good)),
        "without a hash": noted(sha256=None),
        "another order": noted(order=json.dumps(["more/0", "out"])),
        "one output less": noted(order=json.dumps(["out"])),
        "an output that is not there": noted(order=json.dumps(["out", "x"])),
    }


def test_what_is_damaged_is_computed_anew(tmp_path: Path) -> None:
    compute = Computed()
    get(TruthCache(tmp_path), compute)
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    for times, (label, raw) in enumerate(damaged(good).items(), 2):
        file.write_bytes(raw)
        assert torch.equal(get(TruthCache(tmp_path), compute)["out"], RIGHT), label
        assert compute.times == times, label
        get(TruthCache(tmp_path), compute)
        assert compute.times == times, label  # and the file is right again


def test_the_truth_of_another_case_under_this_ones_name_is_not_served(tmp_path: Path) -> None:
    compute = Computed()
    get(TruthCache(tmp_path), compute)
    (first,) = tmp_path.iterdir()
    get(TruthCache(tmp_path), compute, case="MLPBlock/gelu")
    (second,) = set(tmp_path.iterdir()) - {first}
    second.replace(first)
    get(TruthCache(tmp_path), compute)
    assert compute.times == 3


def test_upstream_that_was_edited_in_place_is_seen(
    upstream: Any, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """At the same version: what was kept of it before is not what it computes now."""
    from parity.__main__ import main
    from parity.workers.registry import REFERENCES

    monkeypatch.setitem(REFERENCES, "upstream", upstream.reference)
    truths = tmp_path / "truths"
    command = ["run", "--block", "MLPBlock/gelu", "--reference", "upstream", "--dtype", "float64"]
    command += ["--references", str(upstream.folder), "--truths", str(truths)]
    assert main(command) == 0
    assert len(list(truths.glob("*.safetensors"))) == 1
    code = upstream.module.read_text()
    upstream.module.write_text(code.replace("return self.lin2", "return 1.001 * self.lin2"))
    assert main(command) == 1
    upstream.module.write_text(code + "\n# only a remark\n")
    assert main(command) == 0


def files(folder: Path) -> list[str]:
    return sorted(str(file) for file in folder.iterdir())


def test_files_that_were_not_touched_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, memory = tmp_path / "package", tmp_path / "memory.json"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).write_text(name)
        os.utime(folder / name, (1e9, 1e9))
    monkeypatch.setattr(reference_files, "_SETTLED", -(10**9) * 3600)
    first = reference_files.of_files(files(folder), memory)
    read: list[str] = []

    def watched(file: str, mode: str) -> Any:
        read.append(Path(file).name)
        return Path(file).open(mode)

    monkeypatch.setattr(reference_files, "open", watched, raising=False)
    assert reference_files.of_files(files(folder), memory) == first
    assert read == []
    (folder / "b").write_text("B")  # as long as before, and said to be as old
    os.utime(folder / "b", (1e9, 1e9))
    second = reference_files.of_files(files(folder), memory)
    assert (second != first, read) == (True, ["b"])
    (folder / "d").write_text("d")
    assert reference_files.of_files(files(folder), memory) not in (first, second)
    for damage in ("", "[]", "{", '{"a": 1}'):
        memory.write_text(damage)
        assert len(reference_files.of_files(files(folder), memory)) == 64
        assert set(json.loads(memory.read_text())) == set(files(folder))


def test_a_file_of_just_now_is_read_again(tmp_path: Path) -> None:
    """Two changes within one tick of a file system's clock look like one."""
    folder, memory = tmp_path / "package", tmp_path / "memory.json"
    folder.mkdir()
    (folder / "a").write_text("a")
    reference_files.of_files(files(folder), memory)
    assert not memory.exists() or json.loads(memory.read_text()) == {}


def test_a_case_rests_on_its_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(case: str, adapter: str) -> set[str]:
        seen: list[Path] = []
        monkeypatch.setattr(sources, "_hash", lambda file: seen.append(file) or "")
        sources.digest.__wrapped__(case, adapter)
        return {str(file.relative_to(package.FOLDER)) for file in seen if file.is_relative_to(package.FOLDER)}

    found = names("MLPBlock/relu", "parity.references.meta.library")
    assert {"cases/common.py", "cases/calls.py", "execution/execute.py", "execution/fill.py"} <= found
    assert {
        "references/meta/blocks.py",
        "references/meta/processing.py",
        "references/common/dialect.py",
    } <= found
    assert (
        not {"cases/tracking.py", "cases/__init__.py", "references/timm/library.py", "run/runner.py"} & found
    )
    assert "cases/tracking.py" in names("SAM2Model/released_2.1", "parity.references.meta.library")
    assert {"cases/vit.py", "cases/tracking.py"} <= names("Nobody/knows_it", "")
    assert "cases/checkpoint.py" in names(next(iter(stages())), "")


def stages() -> list[str]:
    from parity.cases import checkpoint

    return [case.id for case in checkpoint.STAGES.values()]
