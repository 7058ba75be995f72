"""Honest variations: they are what they say, and an alarm is raised where one should be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from parity.cases import find
from parity.commands.calibrate import varied_cases
from parity.errors import UsageError
from parity.execution.case import Case
from parity.execution.execute import execute
from parity.run.draws import drawn_inputs, drawn_weights
from parity.run.equivalents import errors_of_equivalents
from parity.run.goldens import Golden
from parity.run.samblocks_library import library
from parity.selftest.calibration import kept
from parity.selftest.calibration.alarms import Series, series
from parity.selftest.calibration.kept import Kept
from parity.selftest.calibration.spread import table
from parity.selftest.calibration.variations import AS_IT_IS, VARIATIONS, Variation
from parity.verdict.compare import Comparison, Verdict
from parity.workers.registry import Reference
from parity.workers.reply import Reply

BY_KIND = {variation.kind: variation for variation in VARIATIONS}


def run(kind: str, case_id: str) -> dict[str, torch.Tensor]:
    case = find(case_id)
    variation = BY_KIND[kind]
    assert variation.applies(case, case.tensors())
    return variation.run(case, case.tensors(), None).outputs


@pytest.mark.parametrize("variation", VARIATIONS, ids=[variation.kind for variation in VARIATIONS])
def test_a_variation_changes_rounding_at_most(variation: Variation) -> None:
    case = find("Block/window_fits")
    plain = execute(case, library(), case.tensors()).outputs["out"]
    torch.testing.assert_close(
        variation.run(case, case.tensors(), None).outputs["out"], plain, atol=2e-6, rtol=1e-5
    )


def test_attention_by_its_formula_rounds_otherwise() -> None:
    plain, varied_ = run("as it is", "Attention/cross"), run("attention by its formula", "Attention/cross")
    assert not torch.equal(plain["out"], varied_["out"])


def test_layouts_change_memory_and_no_value() -> None:
    case = find("LayerNorm2d/map")
    seen = []

    def call(side):
        seen.append(side.inputs["x"])
        return side.inputs["x"]

    looking = replace(case, call=call)
    for kind in ("as it is", "inputs with gaps", "inputs stored backwards", "inputs channels last"):
        BY_KIND[kind].run(looking, case.tensors(), None)
    assert len({x.stride() for x in seen}) == 4
    assert all(torch.equal(x, seen[0]) for x in seen)


def test_items_one_by_one_are_run_one_by_one() -> None:
    case = find("LayerNorm2d/map")
    sizes = []

    def call(side):
        sizes.append(len(side.inputs["x"]))
        return side.net(side.inputs["x"])

    BY_KIND["items one by one"].run(replace(case, call=call), case.tensors(), None)
    assert sizes == [2, 1, 1]


def test_training_is_not_split_and_keeps_its_kernel() -> None:
    case = find("MultiScaleBlock/train_drop_path")
    assert not BY_KIND["items one by one"].applies(case, case.tensors())
    assert not BY_KIND["attention by its formula"].applies(case, case.tensors())
    assert AS_IT_IS.applies(case, case.tensors())


def test_every_case_is_varied_in_several_ways() -> None:
    applying = sum(
        variation.applies(case, case.tensors()) for case in varied_cases() for variation in VARIATIONS[1:]
    )
    assert applying >= 500


class Upstream:
    """Our own library as if it were upstream's, its float32 outputs off by a factor."""

    reference = Reference("stand-in", "", ())

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def execute(self, case: Case, inputs: Any, lift: bool = False, weights: Path | None = None) -> Reply:
        given = safetensors.torch.load_file(weights) if weights else None
        outcome = execute(case, library(), inputs, lift=lift, weights=given)
        return Reply("ok", "", {name: value * self.factor for name, value in outcome.outputs.items()}, ())


@pytest.mark.parametrize(("factor", "alarms"), [(1.0, False), (1.0001, True)])
def test_an_alarm_is_raised_where_one_should_be(factor: float, alarms: bool) -> None:
    chosen = [BY_KIND["as it is"], BY_KIND["inputs stored backwards"]]
    found = list(series([find("MLP/three_layers")], [Upstream(factor)], chosen, draws=8))  # type: ignore[list-item]
    assert {one.kind for one in found} == {"as it is", "inputs stored backwards"}
    assert {len(one.draws) for one in found} == {9}
    assert {one.verdict.verdict.failed for one in found} == {alarms}
    assert list(table(found))[-1].startswith("all")


def test_a_series_is_judged_as_a_run_would_be() -> None:
    one = Series("k", "c", "r", "out", 4, 2.0, [Comparison(Verdict.DIVERGED, 3.0)])
    one.draws += [Comparison(Verdict.WITHIN, 1.0)] * 16
    assert (one.first_alarm, one.verdict.verdict, one.pooled(8)) == (True, Verdict.WITHIN, 1.0)
    one.draws[1:] = [Comparison(Verdict.DIVERGED, 3.0)] * 16
    assert one.verdict.verdict is Verdict.DIVERGED


def test_series_are_kept_and_are_those_of_this_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = list(series([find("MLP/three_layers")], [Upstream(1.0)], [BY_KIND["as it is"]], draws=2))  # type: ignore[list-item]
    file = tmp_path / "series.jsonl"
    Kept(file, 2).add("MLP/three_layers", made)
    Kept(file, 2).add("MLP/relu", [])
    again = Kept(file, 2).series
    assert list(again) == ["MLP/three_layers", "MLP/relu"]
    assert list(table(again["MLP/three_layers"])) == list(table(made))
    assert again["MLP/three_layers"][0].ratios == made[0].ratios
    with pytest.raises(UsageError, match="other draws"):
        Kept(file, 16)
    monkeypatch.setattr(kept, "_code", lambda: "edited")
    with pytest.raises(UsageError, match="of other code"):
        Kept(file, 2)
    file.write_text("nonsense")
    with pytest.raises(UsageError, match="holds no series"):
        Kept(file, 2)


def test_draws_change_weights_and_inputs_and_nothing_else() -> None:
    case = find("LayerNorm2d/map")
    assert not torch.equal(drawn_inputs(case, 1)["x"], case.tensors()["x"])
    with drawn_weights(case, 1, library()) as (weights, file):
        assert weights is not None
        assert file is not None
        assert file.exists()
        assert set(weights) == {"weight", "bias"}
        outcome = execute(case, library(), case.tensors(), weights=weights)
    assert not file.exists()
    assert not torch.equal(outcome.outputs["out"], execute(case, library(), case.tensors()).outputs["out"])
    with drawn_weights(find("do_pool/max_2x2"), 1, library()) as nothing:
        assert nothing == (None, None)


def test_a_less_exact_upstream_counts_where_both_compute_the_same() -> None:
    truth = {"out": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    exact = Golden({"out": truth["out"].float() + 1e-6}, truth, {})
    rough = Golden({"out": truth["out"].float() + 4e-6}, truth, {})
    other = Golden({"out": truth["out"].float() + 9e-6}, {"out": truth["out"] * (1 + 1e-6)}, {})
    found = errors_of_equivalents({"meta": exact, "ultralytics": rough, "timm": other}, "meta")
    assert found == {"out": pytest.approx(4e-6 / 2.5**0.5, rel=0.1)}
    assert errors_of_equivalents({"meta": exact, "ultralytics": rough}, "ultralytics") == {}
