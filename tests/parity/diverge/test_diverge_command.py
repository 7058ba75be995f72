"""`parity diverge`, with our own library behind the worker's side of the protocol."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor, nn

import parity.commands.diverge as command
from parity.__main__ import main
from parity.cases import all_cases
from parity.diverge import in_worker
from parity.execution.case import NoCounterpart
from parity.execution.execute import prepare
from parity.run.samblocks_library import Own
from samblocks.models import PromptEncoder


class Elsewhere(Own):
    """Our library as if it were upstream's; some blocks may be missing."""

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        if kwargs.get("q_stride"):
            raise NoCounterpart("has no pooling")
        return super().construct(block, kwargs)


class Client:
    """Answers as a worker does; everything that crosses is plain data."""

    reference = SimpleNamespace(name="meta")

    def ask(self, module: str, request: Mapping[str, Any], inputs: Mapping[str, Tensor] | None = None) -> Any:
        reply = in_worker.answer(json.loads(json.dumps(request)), inputs or {}, Elsewhere())
        return json.loads(json.dumps(reply))


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "start_clients", lambda names, folder, stack, timeout: ([Client()], {}))


Printed = Callable[[], str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    return lambda: "".join(capsys.readouterr())


@pytest.mark.usefixtures("start")
def test_a_block_that_holds(printed: Printed, tmp_path: Path) -> None:
    assert main(["diverge", "--case", "MLPBlock/gelu", "--json", str(tmp_path / "report.json")]) == 0
    assert "MLPBlock/gelu against meta\nno module introduces an error" in printed()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["schema"] == 1
    assert [call["module"] for call in report["calls"]] == ["(model)", "lin1", "act", "lin2"]
    assert {call["verdict"] for call in report["calls"]} == {"EXACT"}


@pytest.mark.usefixtures("start")
def test_a_block_runs_all_of_its_cases(printed: Printed, tmp_path: Path) -> None:
    assert main(["diverge", "--block", "MultiScaleBlock", "--json", str(tmp_path / "report.json")]) == 0
    said = printed()
    assert "MultiScaleBlock/global against meta: no module introduces an error; " in said
    assert "MultiScaleBlock/pool_window_4: NOT RUN: has no pooling" in said
    assert "MultiScaleBlock/five_steps_of_SGD: NOT RUN: it takes steps of an optimizer" in said
    report = json.loads((tmp_path / "report.json").read_text())
    ran, missing = {one["subject"] for one in report["cases"]}, set(report["not_run"])
    assert f"{len(ran)} of {len(ran | missing)} cases of MultiScaleBlock ran" in said
    assert ran | missing == {case.id for case in all_cases().values() if case.block == "MultiScaleBlock"}
    assert main(["diverge", "--case", "MultiScaleBlock/pool_window_4"]) == 2
    assert "has no pooling" in printed()


@pytest.mark.usefixtures("start")
def test_a_planted_change_is_found_through_the_protocol() -> None:
    def widen(module: nn.Module) -> None:
        module.get_submodule("norm1").eps = 1e-3  # type: ignore[assignment]

    from parity.diverge.subjects import find

    with command.traced(find("MultiScaleBlock/global"), Client()) as judge:  # type: ignore[arg-type]
        assert judge(None)
        report = judge(widen)
    assert [culprit.tap.name for culprit in report.culprits] == ["norm1"]
    assert report.culprits[0].settings == ("eps 0.001, upstream 1e-06",)


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--block", "do_pool"], "do_pool is a function"),
        (["--case", "do_pool/pools"], "no case is called 'do_pool/pools'"),
        (["--block", "Nothing"], "no case is about 'Nothing'"),
        (["--variant", "sam3"], "no variant is called 'sam3'"),
        (["--pair", "math:pi"], "--pair math:pi"),
        (["--pair", "nowhere:at_all"], "No module named 'nowhere'"),
        (["--checkpoint", "missing.pt"], "missing.pt"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], sentence: str, printed: Printed) -> None:
    assert main(["diverge", *arguments]) == 2
    said = printed()
    assert sentence in said
    assert said.count("\n") == 1


def pair() -> tuple[nn.Module, nn.Module, Tensor]:
    """A candidate whose second layer is off, its reference, and an input."""
    import copy

    import torch

    from parity.execution.fill import fill_

    reference = fill_(nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)))
    candidate = copy.deepcopy(reference)
    candidate.get_submodule("1").approximate = "tanh"  # type: ignore[assignment]
    return candidate, reference, torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def test_a_pair_in_this_process(monkeypatch: pytest.MonkeyPatch, printed: Printed) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "somebodys_models", SimpleNamespace(pair=pair))
    assert main(["diverge", "--pair", "somebodys_models:pair"]) == 1
    said = printed()
    assert "CULPRIT 1\n" in said
    assert "approximate tanh, upstream none" in said


def test_a_reference_that_is_missing_did_not_run(tmp_path: Path, printed: Printed) -> None:
    assert main(["diverge", "--case", "MLPBlock/gelu", "--references", str(tmp_path)]) == 3
    assert "NOT RUN" in printed()


@pytest.mark.usefixtures("start")
def test_swapped_corners_of_boxes_are_found_in_the_cases_that_have_boxes(
    monkeypatch: pytest.MonkeyPatch, printed: Printed
) -> None:
    """The first cases of the block have no boxes: each of its cases must run."""

    def prepared(*args: Any, **kwargs: Any) -> Any:
        module, state = prepare(*args, **kwargs)
        assert isinstance(module, PromptEncoder)
        right = module._embed_boxes
        monkeypatch.setattr(module, "_embed_boxes", lambda boxes: right(boxes[..., [2, 3, 0, 1]]))
        return module, state

    monkeypatch.setattr(command, "prepare", prepared)
    assert main(["diverge", "--block", "PromptEncoder"]) == 1
    said = printed()
    assert "CULPRIT _embed_boxes()" in said
    assert "PromptEncoder/boxes" in said.splitlines()[-1]
    assert "PromptEncoder/points against meta: no module introduces an error" in said
