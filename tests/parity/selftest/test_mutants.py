"""The planted bugs: as data they are whole, and the hunt kills what can be killed."""

import multiprocessing
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch

from parity.cases import all_cases, find
from parity.commands.mutants import judged_by
from parity.execution.execute import execute
from parity.run.goldens import Golden
from parity.run.samblocks_library import library
from parity.selftest.mutants.catalog import ALL
from parity.selftest.mutants.depend import dependents
from parity.selftest.mutants.gates import judge
from parity.selftest.mutants.hunt import Result, hunt, plan
from parity.selftest.mutants.matrix import failed, text
from parity.selftest.mutants.mutant import Mutant, StaleMutant
from samblocks import blocks as _blocks
from samblocks import models

needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="mutants are planted in forked processes"
)


def named(name: str) -> Mutant:
    [mutant] = [mutant for mutant in ALL if mutant.id == name]
    return mutant


def golden_of(case_id: str) -> dict[str, Golden]:
    """What the code as it is gives, in the place of upstream's outputs."""
    case = find(case_id)
    single = execute(case, library(), case.tensors())
    double = execute(case, library(), case.tensors(), dtype=torch.float64)
    state = [[name, list(shape)] for name, shape in single.state]
    return {"meta": Golden(single.outputs, double.outputs, {"state": state})}


@pytest.mark.parametrize("mutant", ALL, ids=[mutant.id for mutant in ALL])
def test_a_mutant_still_fits_its_file(mutant: Mutant) -> None:
    source = mutant.source()
    compile(source, mutant.file, "exec")
    assert mutant.new in source
    assert mutant.why


def test_there_are_enough_mutants() -> None:
    assert len(ALL) >= 100
    assert len({mutant.id for mutant in ALL}) == len(ALL)


def test_every_block_and_model_has_three() -> None:
    count = Counter(mutant.block for mutant in ALL)
    blocks = {case.block for case in all_cases().values() if hasattr(_blocks, case.block)}
    blocks |= {case.block for case in all_cases().values() if hasattr(models, case.block)}
    assert len(blocks) > 40
    assert not {block: count[block] for block in blocks if count[block] < 3}
    assert set(count) <= blocks


def test_no_family_counts_more_than_five() -> None:
    count = Counter(mutant.family for mutant in ALL)
    assert not {family: number for family, number in count.items() if number > 5}


def test_no_change_is_made_twice() -> None:
    made = Counter((mutant.file, mutant.source()) for mutant in ALL)
    assert max(made.values()) == 1


def test_named_cases_exist() -> None:
    known = {case.id for case in judged_by().values()}
    assert not [m.id for m in ALL for case in m.cases if f"{m.block}/{case}" not in known]


def test_text_that_is_gone_or_there_twice_is_refused() -> None:
    mutant = named("MLPBlock/no_activation")
    with pytest.raises(StaleMutant, match="0 times"):
        replace(mutant, old="no such text").source()
    with pytest.raises(StaleMutant, match="must be once"):
        replace(mutant, old="return").source()
    with pytest.raises(StaleMutant, match="any more"):
        replace(mutant, after="no such text").source()


def test_dependents_come_nearest_first() -> None:
    blocks = {case.block for case in all_cases().values()}
    found = dependents("samblocks.ops.windows", blocks)
    assert found[:2] == ["window_partition", "window_unpartition"]
    assert found.index("Block") < found.index("ImageEncoderViT")
    assert "MLP" not in found
    assert "SAM2Model" in dependents("samblocks.models.sam2.frames", blocks)


def test_a_round_holds_the_named_cases_first() -> None:
    cases = {case.id: case for case in all_cases().values() if case.block in ("MLP", "MaskDecoder")}
    mutant = replace(named("MLP/residual_left_out"), cases=("one_layer",))
    first, rest, others = plan(mutant, cases, ["MaskDecoder", "no such block"])
    assert [case.name for case in first] == ["one_layer"]
    assert {case.block for case in rest} == {"MLP"}
    assert {case.block for case in others} == {"MaskDecoder"}


def test_the_code_as_it_is_passes_all_gates() -> None:
    assert judge(find("MLP/three_layers"), golden_of("MLP/three_layers")).gates == {}


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_bug_is_planted_seen_and_gone_again() -> None:
    kept = {"MLPBlock/gelu": golden_of("MLPBlock/gelu")}
    case = find("MLPBlock/gelu")
    mutants = [named("MLPBlock/tanh_gelu"), named("MLPBlock/second_layer_without_bias")]
    unseen = replace(mutants[0], name="unseen", old="self.lin1 = nn", new="self.lin1  = nn")
    stale = replace(mutants[0], name="stale", old="no such text")
    work = [(mutant, [[case]]) for mutant in (None, *mutants, unseen, stale)]
    results = {r.mutant.name if r.mutant else "": r for r in hunt(work, kept, at_once=2)}
    assert not results[""].killed
    assert results["tanh_gelu"].gates == {"R fp32", "rel fp64"}
    assert not results["tanh_gelu"].missed_by("atol")
    assert results["tanh_gelu"].missed_by("cosine")
    assert "state_dict" in results["second_layer_without_bias"].gates
    assert failed(results["unseen"])
    assert "holds 'no such text' 0 times" in results["stale"].broken
    assert failed(results["stale"])
    assert judge(case, kept[case.id]).gates == {}
    lines = list(text([r for r in results.values() if r.mutant is not None]))
    assert any("2 killed, 0 equivalent, 2 survived" in line for line in lines)
    assert any(
        "cosine 0.99 alone would have missed 1 of 2 mutants, and 1 of the 2 cases" in line for line in lines
    )


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_mutant_that_does_not_end_is_killed_by_the_clock() -> None:
    mutant = replace(named("MLPBlock/no_activation"), new="import time; time.sleep(60)")
    case = find("MLPBlock/gelu")
    [result] = hunt([(mutant, [[case]])], {case.id: golden_of(case.id)}, timeout=1.0)
    assert result.gates == {"timeout"}


def test_an_equivalent_mutant_is_no_failure() -> None:
    result = Result(replace(named("MLPBlock/no_activation"), equivalent="because"))
    assert not failed(result)


def test_the_list_is_printed_without_running_anything() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "parity", "mutants", "--list", "--only", "MLP"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "MLP/residual_left_out" in done.stdout
    nothing = subprocess.run(
        [sys.executable, "-m", "parity", "mutants", "--only", "nobody"], capture_output=True, text=True
    )
    assert nothing.returncode == 2
    assert "no mutant is called" in nothing.stderr
