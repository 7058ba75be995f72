"""Honest variations: they are what they say, they raise no alarm, and the envelope knows upstream alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from parity.cases import all_cases, find
from parity.commands.calibrate import block_cases
from parity.execution.execute import execute
from parity.run.goldens import Golden
from parity.run.samblocks_library import library
from parity.run.siblings import errors_of_siblings
from parity.selftest.calibration.alarms import varied
from parity.selftest.calibration.seeds import salted_inputs, salted_weights
from parity.selftest.calibration.spread import runs, table
from parity.selftest.calibration.variations import AS_IT_IS, VARIATIONS, Variation
from parity.verdict import envelopes
from parity.verdict.compare import Verdict, compare

BY_KIND = {variation.kind: variation for variation in VARIATIONS}


def run(kind: str, case_id: str) -> dict[str, torch.Tensor]:
    case = find(case_id)
    variation = BY_KIND[kind]
    assert variation.applies(case, case.tensors())
    return variation.run(case, case.tensors()).outputs


@pytest.mark.parametrize("variation", VARIATIONS, ids=[variation.kind for variation in VARIATIONS])
def test_a_variation_changes_rounding_at_most(variation: Variation) -> None:
    case = find("Block/window_fits")
    plain = execute(case, library(), case.tensors()).outputs["out"]
    torch.testing.assert_close(
        variation.run(case, case.tensors()).outputs["out"], plain, atol=2e-6, rtol=1e-5
    )


def test_attention_by_its_formula_rounds_otherwise() -> None:
    plain, varied_ = run("as it is", "Attention/cross"), run("attention by its formula", "Attention/cross")
    assert not torch.equal(plain["out"], varied_["out"])


def test_layouts_change_memory_and_no_value() -> None:
    case = find("LayerNorm2d/map")
    seen = []

    def call(side):  # type: ignore[no-untyped-def]
        seen.append(side.inputs["x"])
        return side.inputs["x"]

    looking = replace(case, call=call)
    for kind in ("as it is", "inputs with gaps", "inputs stored backwards", "inputs channels last"):
        BY_KIND[kind].run(looking, case.tensors())
    assert len({x.stride() for x in seen}) == 4
    assert all(torch.equal(x, seen[0]) for x in seen)


def test_items_one_by_one_are_run_one_by_one() -> None:
    case = find("LayerNorm2d/map")
    sizes = []

    def call(side):  # type: ignore[no-untyped-def]
        sizes.append(len(side.inputs["x"]))
        return side.net(side.inputs["x"])

    BY_KIND["items one by one"].run(replace(case, call=call), case.tensors())
    assert sizes == [2, 1, 1]


def test_training_is_not_split_and_keeps_its_kernel() -> None:
    case = find("MultiScaleBlock/train_drop_path")
    assert not BY_KIND["items one by one"].applies(case, case.tensors())
    assert not BY_KIND["attention by its formula"].applies(case, case.tensors())
    assert AS_IT_IS.applies(case, case.tensors())


def test_there_are_five_hundred_variations_without_other_seeds() -> None:
    applying = sum(
        variation.applies(case, case.tensors()) for case in block_cases() for variation in VARIATIONS[1:]
    )
    assert applying >= 500


def test_an_alarm_is_raised_where_one_should_be() -> None:
    case = find("MLP/three_layers")
    outputs = execute(case, library(), case.tensors()).outputs
    truth = execute(case, library(), case.tensors(), dtype=torch.float64).outputs
    honest = {case.id: {"meta": Golden(outputs, truth, {})}}
    samples = list(varied([case], honest))
    assert samples
    assert not [sample for sample in samples if sample.alarm]
    assert list(table(samples))[-1].startswith("all")
    assert runs(samples) == len({sample.kind for sample in samples}) - 1  # as it is varies nothing
    elsewhere = {name: value + 1e-5 for name, value in truth.items()}
    rounded = {name: value.float() for name, value in elsewhere.items()}
    wrong = {case.id: {"meta": Golden(rounded, elsewhere, {})}}
    assert all(sample.alarm for sample in varied([case], wrong))


def test_salts_change_weights_and_inputs_and_nothing_else() -> None:
    case = find("LayerNorm2d/map")
    assert not torch.equal(salted_inputs(case, "a")["x"], case.tensors()["x"])
    with salted_weights(case, "a") as (weights, file):
        assert weights is not None
        assert file is not None
        assert file.exists()
        assert set(weights) == {"weight", "bias"}
        outcome = execute(case, library(), case.tensors(), weights=weights)
    assert not file.exists()
    assert not torch.equal(outcome.outputs["out"], execute(case, library(), case.tensors()).outputs["out"])
    with salted_weights(find("do_pool/max_2x2"), "a") as nothing:
        assert nothing == (None, None)


def test_a_lucky_upstream_raises_no_alarm_where_its_usual_error_is_known() -> None:
    truth = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    ours, lucky = truth.float() + 3e-6, truth.float() + torch.tensor([3e-7, 0.0, 0.0])
    assert compare(ours, lucky, truth).verdict is Verdict.DIVERGED
    assert compare(ours, lucky, truth, envelope=1e-6).verdict is Verdict.NOISE
    assert compare(ours + 1e-5, lucky, truth, envelope=1e-6).verdict is Verdict.DIVERGED


def test_an_envelope_below_the_error_changes_nothing() -> None:
    truth = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    ours, theirs = truth.float() + 3e-6, truth.float() + 2e-6
    assert compare(ours, theirs, truth) == compare(ours, theirs, truth, envelope=1e-8)


def test_kept_envelopes_are_of_small_outputs_and_of_rounding() -> None:
    kept = json.loads(envelopes.FILE.read_text(encoding="utf-8"))
    assert kept
    for cases in kept.values():
        for case_id, outputs in cases.items():
            assert case_id in all_cases()
            assert all(0.0 < value < 1e-3 for value in outputs.values()), (case_id, outputs)
    case_id, outputs = next(iter(kept["meta"].items()))
    assert envelopes.envelope("meta", case_id, next(iter(outputs))) > 0.0
    assert envelopes.envelope("meta", case_id, "no such output") == 0.0


def test_a_less_exact_upstream_counts_where_both_compute_the_same() -> None:
    truth = {"out": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    exact = Golden({"out": truth["out"].float() + 1e-6}, truth, {})
    rough = Golden({"out": truth["out"].float() + 4e-6}, truth, {})
    other = Golden({"out": truth["out"].float() + 9e-6}, {"out": truth["out"] * (1 + 1e-6)}, {})
    found = errors_of_siblings({"meta": exact, "ultralytics": rough, "timm": other}, "meta")
    assert found == {"out": pytest.approx(4e-6 / 2.5**0.5, rel=0.1)}
    assert errors_of_siblings({"meta": exact, "ultralytics": rough}, "ultralytics") == {}


def test_measured_envelopes_are_kept_beside_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "envelopes.json"
    envelopes.write({"meta": {"A/a": {"out": 1.23456e-7}}}, file)
    envelopes.write({"meta": {"B/b": {"out": 2e-7}}, "ultralytics": {"A/a": {"out": 3e-7}}}, file)
    assert json.loads(file.read_text()) == {
        "meta": {"A/a": {"out": 1.23e-07}, "B/b": {"out": 2e-07}},
        "ultralytics": {"A/a": {"out": 3e-07}},
    }
