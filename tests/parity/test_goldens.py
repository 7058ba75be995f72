"""Goldens: what is refused, what has gone stale, and that they can be told from each other."""

from pathlib import Path
from typing import Any

import pytest
import torch

from parity.__main__ import main
from parity.cases import all_cases
from parity.execution.case import Case, uniform
from parity.run import goldens
from parity.run.goldens import Golden, GoldenClient, GoldenError
from parity.run.job import jobs
from parity.run.runner import run
from parity.verdict.compare import Verdict
from parity.workers.registry import REFERENCES
from parity.workers.reply import Reply
from samblocks.numerics.matmul import matmul_error

META = REFERENCES["meta"]
VERSIONS = {"sam2": "1.1.0", "segment-anything": "1.0", "torch": "2.13.0"}


def subject(**changes: Any) -> Case:
    return Case(**{"block": "twice", "name": "n", "why": "w", "inputs": {"x": uniform(3)}, **changes})


def golden(case: Case, origin: str = "meta", **changes: Any) -> Golden:
    x = case.tensors()["x"]
    note = goldens.provenance(case, META, VERSIONS, ())
    return Golden({"out": x * 2}, {"out": x.double() * 2}, {**note, "recorded_from": origin, **changes})


def test_a_golden_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = golden(subject())
    goldens.write(kept, tmp_path / "g.safetensors")
    back = goldens.read(tmp_path / "g.safetensors")
    assert torch.equal(back.upstream["out"], kept.upstream["out"])
    assert torch.equal(back.truth["out"], kept.truth["out"])
    assert back.provenance == kept.provenance
    assert {"packages", "sources", "torch", "platform", "inputs", "weights"} <= set(back.provenance)


@pytest.mark.parametrize("origin", ["samblocks", "self", ""])
def test_what_was_not_recorded_from_upstream_is_refused(tmp_path: Path, origin: str) -> None:
    goldens.write(golden(subject(), origin), tmp_path / "g.safetensors")
    with pytest.raises(GoldenError, match="upstream alone"):
        goldens.read(tmp_path / "g.safetensors")


def test_a_golden_without_versions_is_refused(tmp_path: Path) -> None:
    goldens.write(golden(subject(), packages={}), tmp_path / "g.safetensors")
    with pytest.raises(GoldenError, match="which versions"):
        goldens.read(tmp_path / "g.safetensors")


def test_a_damaged_golden_says_so(tmp_path: Path) -> None:
    goldens.write(golden(subject()), tmp_path / "g.safetensors")
    whole = (tmp_path / "g.safetensors").read_bytes()
    (tmp_path / "g.safetensors").write_bytes(whole[:-9])
    with pytest.raises(GoldenError, match="damaged"):
        goldens.read(tmp_path / "g.safetensors")


def test_changed_inputs_are_not_taken_for_a_changed_block(tmp_path: Path) -> None:
    case = subject()
    goldens.write(golden(case), goldens.path_of(case, "meta", tmp_path))
    changed = subject(inputs={"x": uniform(3, low=0.0)})
    with pytest.raises(GoldenError, match="inputs of twice/n"):
        GoldenClient(META, tmp_path).execute(changed, changed.tensors())


@pytest.mark.parametrize(("factor", "verdict"), [(2.0, Verdict.EXACT), (2.00001, Verdict.DIVERGED)])
def test_goldens_judge_like_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, verdict: Verdict
) -> None:
    class Ours:
        name = "ours"

        def function(self, name: str) -> Any:
            return lambda x: x * factor

    monkeypatch.setattr("parity.run.runner.own_library", Ours)
    case = subject(call=lambda side: side.library.function("twice")(side.inputs["x"]))
    goldens.write(golden(case), goldens.path_of(case, "meta", tmp_path))
    client = GoldenClient(META, tmp_path)
    assert list(client.cases([case, subject(name="other")])) == [case]
    rows = list(run(list(jobs([case])), [client]))
    assert [row.comparison.verdict for row in rows] == [verdict, verdict]
    assert client.versions["sam2"] == "1.1.0"


@pytest.mark.parametrize(("exact", "verdict"), [(1.0, Verdict.DIVERGED), (1.8, Verdict.WITHIN)])
def test_goldens_of_more_exact_products_are_judged_by_products_of_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: float, verdict: Verdict
) -> None:
    case = subject(
        inputs={"x": uniform(512)}, call=lambda side: side.library.function("twice")(side.inputs["x"])
    )

    class Ours:
        """Its error is 2.5 times the reference's in every draw: in float32 alone."""

        name = "ours"

        def function(self, name: str) -> Any:
            return lambda x: x * 2 if x.dtype is torch.float64 else x * 2 * (1 + 2.5e-6)

    x = case.tensors()["x"]
    size = float(x.double().square().mean().sqrt()) * 2
    note = goldens.provenance(case, META, VERSIONS, (), matmul_error() / exact)
    kept = Golden(
        {"out": x * 2 * (1 + 1e-6)},
        {"out": x.double() * 2},
        note,
        errors={"out": [1.1e-6 * size] * 16},
    )
    monkeypatch.setattr("parity.run.runner.own_library", Ours)
    goldens.write(kept, goldens.path_of(case, "meta", tmp_path))
    client = GoldenClient(META, tmp_path)
    single, double = run(list(jobs([case])), [client])
    assert double.comparison.verdict is Verdict.EXACT
    assert single.comparison.verdict is verdict
    assert client.errors(case, 3, "out") == pytest.approx((1.1e-6 * size * exact, 0.0))


def test_weights_have_a_hash_that_follows_name_shape_and_adjustment() -> None:
    state = (("a.weight", (3, 3)), ("b", (2,)))
    base = goldens.weights_digest(subject(), state)
    assert base == goldens.weights_digest(subject(), state[::-1])
    assert base != goldens.weights_digest(subject(), (("a.weight", (3, 3)), ("c", (2,))))
    assert base != goldens.weights_digest(subject(adjust=lambda tensors: tensors["b"].add_(1)), state)


@pytest.mark.parametrize("fault", ["no environment", "a follower does not start", "upstream raises"])
def test_recording_keeps_goldens_that_cannot_be_derived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    [case] = [one for one in all_cases().values() if one.id == "MLPBlock/gelu"]
    file = goldens.path_of(case, "meta", tmp_path)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"kept")

    class Raises:
        reference = META
        versions = VERSIONS

        def execute(self, *_: Any, **__: Any) -> Reply:
            return Reply("raised", "OSError: no space", {}, ())

    def start(names: Any, *_: Any, **__: Any) -> Any:
        if fault == "no environment":
            return [], dict.fromkeys(names, "missing")
        return [Raises()], {"ultralytics": "too slow"} if fault.startswith("a follower") else {}

    monkeypatch.setattr("parity.commands.record.start_clients", start)
    status = main(["record", "--reference", "meta", "--block", case.id, "--goldens", str(tmp_path)])
    assert status == 3
    assert file.read_bytes() == b"kept"
    assert ("OSError: no space" in capsys.readouterr().out) is (fault == "upstream raises")
