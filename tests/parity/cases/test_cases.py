"""The block cases themselves: complete, distinct, and sound on our side alone."""

from functools import cache

import pytest
import torch

import parity.references.meta.blocks as meta_blocks
import parity.references.meta.models as meta_models
import parity.references.ultralytics.blocks as ultralytics_blocks
import parity.references.ultralytics.models as ultralytics_models
from parity.cases import all_cases, of
from parity.errors import UsageError
from parity.execution.execute import Outcome, execute
from parity.run.samblocks_library import library
from parity.workers.registry import REFERENCES
from samblocks import blocks

PAGE = (
    "DropPath",
    "MaskDownSampler",
    "CXBlock",
    "Fuser",
    "SAM2TwoWayAttentionBlock",
    "SAM2TwoWayTransformer",
    "RoPEAttention",
    "MultiScaleAttention",
    "MultiScaleBlock",
    "PositionEmbeddingSine",
    "PositionEmbeddingRandom",
    "Block",
    "REAttention",
    "PatchEmbed",
    "do_pool",
)
"""The fifteen names of the reference page."""

CASES = {case.id: case for case in all_cases().values() if case.block in blocks.__all__}


@cache
def outcome(case_id: str, dtype: torch.dtype = torch.float32) -> Outcome:
    case = CASES[case_id]
    return execute(case, library(), case.tensors(), dtype=dtype)


def test_each_page_name_has_four_cases_and_every_other_block_two() -> None:
    counts = {name: sum(case.block == name for case in CASES.values()) for name in blocks.__all__}
    assert not {name: counts[name] for name in PAGE if counts[name] < 4}
    assert not {name: count for name, count in counts.items() if count < 2}


def test_each_block_but_droppath_has_a_case_with_gradients() -> None:
    classes = {name for name in blocks.__all__ if isinstance(getattr(blocks, name), type)}
    without_weights_or_gradient = {"DropPath", "PositionEmbeddingSine", "PositionEmbeddingRandom"}
    assert classes - {case.block for case in CASES.values() if case.name == "gradients"} == (
        without_weights_or_gradient
    )


def test_each_sentence_stands_once() -> None:
    sentences: dict[str, str] = {}
    for case in all_cases().values():
        assert len(case.why.split()) >= 3, f"{case.id}: {case.why!r} says little"
        assert case.why not in sentences, f"{case.id} and {sentences[case.why]} say the same"
        sentences[case.why] = case.id


def test_known_differences_name_a_reference_and_a_cause() -> None:
    for case in all_cases().values():
        assert set(case.known) <= set(REFERENCES), case.id
        assert all(len(known.cause.split()) >= 5 for known in case.known.values()), case.id


def test_both_references_have_an_entry_for_every_block() -> None:
    for entries in (
        meta_blocks.ENTRIES | meta_models.ENTRIES,
        ultralytics_blocks.ENTRIES | ultralytics_models.ENTRIES,
    ):
        assert set(blocks.__all__) <= set(entries)


def test_inputs_follow_from_their_names() -> None:
    case = CASES["MultiScaleBlock/window_pads"]
    first, again = case.tensors(), case.tensors()
    assert all(torch.equal(first[name], again[name]) for name in first)
    # Frozen: whoever changes these numbers changes every truth and every golden.
    expected = [-0.974208652973175, 0.5812095999717712, 0.43230578303337097]
    assert first["x"].flatten()[:3].tolist() == expected
    assert not torch.equal(first["x"][:, :7, :6, :5], CASES["do_pool/max_2x2"].tensors()["x"])


@pytest.mark.parametrize("case_id", CASES)
def test_case_runs_twice_alike_and_leaves_its_inputs(case_id: str) -> None:
    case = CASES[case_id]
    inputs = case.tensors()
    kept = {name: value.clone() for name, value in inputs.items()}
    first, second = outcome(case_id), execute(case, library(), inputs)
    assert all(torch.equal(inputs[name], kept[name]) for name in inputs), "inputs were changed"
    assert first.outputs, "nothing came out"
    for path, value in first.outputs.items():
        assert torch.equal(value, second.outputs[path]), f"{path} differs between two runs"
        assert bool(torch.isfinite(value).all()), f"{path} is not finite"


@pytest.mark.parametrize("case_id", [case.id for case in CASES.values() if case.double])
def test_double_agrees_with_single(case_id: str) -> None:
    case = CASES[case_id]
    single, double = outcome(case_id), outcome(case_id, torch.float64)
    for path, value in double.outputs.items():
        if not value.is_floating_point():
            assert torch.equal(value, single.outputs[path])
            continue
        assert value.dtype is torch.float64, f"{path} is {value.dtype} in a float64 run"
        spread = float(value.abs().max()) if value.numel() else 1.0
        difference = (value - single.outputs[path].double()).abs()
        assert difference.numel() == 0 or float(difference.max()) <= 2e-4 * max(spread, 1e-3), path
    if case.check is not None:
        case.check(double.outputs)


def test_weights_are_given_to_all_but_those_that_have_none() -> None:
    without = {case.block for case in CASES.values() if not case.is_function and not outcome(case.id).state}
    assert without == {"DropPath", "PositionEmbeddingSine"}


def test_cases_are_found_by_block_and_by_id() -> None:
    pools = [case.id for case in of(["do_pool"])]
    assert [case.id for case in of(["do_pool", "MLP/sigmoid_gelu"])] == ["MLP/sigmoid_gelu", *pools]
    assert [case.id for case in of(["do_pool/max_2x2", "do_pool"])] == pools
    assert of([]) == list(all_cases().values())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("do_pool/max", "no case is called 'do_pool/max'; do_pool has max_2x2, no_pool, "),
        ("Pool", "no case is about 'Pool'; there are cases for Attention, Block, "),
    ],
)
def test_a_name_that_no_case_has_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        of(["MLP", name])
