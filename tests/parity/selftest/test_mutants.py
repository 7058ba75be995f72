"""The planted bugs: as data they are whole, and the hunt kills what can be killed."""

import ast
import json
import multiprocessing
import re
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from parity.__main__ import main
from parity.cases import all_cases, find
from parity.commands.mutants import judged_by
from parity.execution.execute import execute
from parity.package import ROOT
from parity.reports import kill_matrix
from parity.run.goldens import Golden
from parity.run.samblocks_library import library
from parity.selftest.mutants.catalog import ALL
from parity.selftest.mutants.depend import dependents
from parity.selftest.mutants.gates import judge
from parity.selftest.mutants.hunt import Result, hunt, plan
from parity.selftest.mutants.matrix import failed, text, write_json
from parity.selftest.mutants.mutant import Change, Mutant, StaleMutant
from parity.selftest.mutants.planting import plant
from parity.selftest.mutants.table import table
from samblocks import blocks as _blocks
from samblocks import errors, models

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


@cache
def written(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


Node = TypeVar("Node", ast.Module, ast.ClassDef, ast.FunctionDef)


@cache
def unnamed(file: str) -> set[str]:
    """What functions assign to and no mutant names."""
    changes = [change for mutant in ALL if mutant.file == file for change in mutant.changes]
    named = re.findall(r"\w+", " ".join(f"{change.node} {change.becomes}" for change in changes))
    functions = [node for node in ast.walk(ast.parse(written(file))) if isinstance(node, ast.FunctionDef)]
    nodes = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.Name)]
    return {node.id for node in nodes if isinstance(node.ctx, ast.Store)} - set(named)


class Reworded(ast.NodeTransformer):
    """Other names for what no mutant names, no docstrings, and one statement more in each function."""

    def __init__(self, file: str) -> None:
        self.names = unnamed(file)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(f"other_{node.id}", node.ctx) if node.id in self.names else node

    def visit_Module(self, node: ast.Module) -> ast.Module:
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return self._without_docstring(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        new = self._without_docstring(node)
        new.body.insert(0, ast.parse("unused = None").body[0])
        return new

    def _without_docstring(self, node: Node) -> Node:
        if ast.get_docstring(node):
            node.body[0] = ast.Pass()
        self.generic_visit(node)
        return node


@cache
def reworded(file: str) -> str:
    """A file with all its lines written in another way, and comments everywhere."""
    lines = ast.unparse(Reworded(file).visit(ast.parse(written(file)))).splitlines()
    return "\n".join(f"{line}  # comment" for line in lines)


@pytest.mark.parametrize("mutant", ALL, ids=[mutant.id for mutant in ALL])
def test_a_mutant_fits_its_file_and_changes_it(mutant: Mutant) -> None:
    tree = mutant.tree()
    compile(tree, mutant.file, "exec")
    assert ast.dump(tree) != ast.dump(ast.parse(written(mutant.file)))
    assert mutant.changes
    assert mutant.why


@pytest.mark.parametrize("mutant", ALL, ids=[mutant.id for mutant in ALL])
def test_rewording_all_else_leaves_a_mutant_alone(mutant: Mutant) -> None:
    there = mutant.tree(reworded(mutant.file))
    assert ast.unparse(there) == ast.unparse(Reworded(mutant.file).visit(mutant.tree()))


def test_there_are_enough_mutants() -> None:
    assert len(ALL) >= 100
    assert len({mutant.id for mutant in ALL}) == len(ALL)


def test_every_block_and_model_has_three() -> None:
    count = Counter(mutant.block for mutant in ALL)
    blocks = {case.block for case in all_cases().values() if hasattr(_blocks, case.block)}
    blocks |= {case.block for case in all_cases().values() if hasattr(models, case.block)}
    assert len(blocks) > 40
    assert not {block: count[block] for block in blocks if count[block] < 3}
    assert set(count) <= {case.block for case in all_cases().values()}


def test_no_family_counts_more_than_five() -> None:
    count = Counter(mutant.family for mutant in ALL)
    assert not {family: number for family, number in count.items() if number > 5}


def test_no_change_is_made_twice() -> None:
    made = Counter((mutant.file, ast.unparse(mutant.tree())) for mutant in ALL)
    assert max(made.values()) == 1


def test_named_cases_exist() -> None:
    known = {case.id for case in judged_by().values()}
    assert not [m.id for m in ALL for case in m.cases if f"{m.block}/{case}" not in known]


SOURCE = """
LIMIT = 3

class Scaled:
    eps: float = 1e-6

    def forward(self, x, *, bias=True):
        y = self.norm(x, dim=-1, bias=bias)
        if bias:
            print(x)
        return y * self.scale + y * self.scale
"""


def changed(where: str, node: str, becomes: str, *number: int) -> str:
    mutant = replace(named("MLPBlock/no_activation"), changes=(Change(where, node, becomes, *number),))
    before = ast.unparse(ast.parse(SOURCE)).splitlines()
    after = ast.unparse(mutant.tree(SOURCE)).splitlines()
    return "\n".join(line.strip() for line in after if line not in before)


@pytest.mark.parametrize(
    ("where", "node", "becomes", "line"),
    [
        ("Scaled.forward", "self.norm( x,dim = -1, bias=bias )", "x", "y = x"),
        ("Scaled.forward", "dim=-1", "dim=1", "y = self.norm(x, dim=1, bias=bias)"),
        ("Scaled.forward", "dim=-1", "", "y = self.norm(x, bias=bias)"),
        ("Scaled.forward", "dim=-1", "dim=-1, out=x", "y = self.norm(x, dim=-1, out=x, bias=bias)"),
        ("Scaled.forward", "bias=True", "bias=False", "def forward(self, x, *, bias=False):"),
        ("Scaled.forward", "print(x)", "", "pass"),
        ("Scaled.forward", "print(x)", "x = 1; y = 2", "x = 1\ny = 2"),
        ("Scaled.forward", "y * self.scale + y * self.scale", "y", "return y"),
        ("Scaled", "1e-06", "1e-5", "eps: float = 1e-05"),
        ("<module>", "LIMIT = 3", "LIMIT = 4", "LIMIT = 4"),
    ],
)
def test_what_can_be_changed(where: str, node: str, becomes: str, line: str) -> None:
    assert changed(where, node, becomes) == line


def test_one_of_several_can_be_changed() -> None:
    assert changed("Scaled.forward", "y * self.scale", "y", 1, 2) == "return y + y * self.scale"
    assert changed("Scaled.forward", "y * self.scale", "y", 2, 2) == "return y * self.scale + y"
    with pytest.raises(StaleMutant, match=r"2 times in Scaled\.forward, not 3: lines 11, 11"):
        changed("Scaled.forward", "y * self.scale", "y", 2, 3)


def test_an_argument_becomes_one_of_its_kind() -> None:
    with pytest.raises(SyntaxError, match="`1, dim=1` takes the place of a positional argument"):
        changed("Scaled.forward", "x", "1, dim=1", 1, 2)
    with pytest.raises(SyntaxError, match="`1` takes the place of a named argument"):
        changed("Scaled.forward", "dim=-1", "1")


def test_places_are_swapped_not_changed_in_turn() -> None:
    swaps = (Change("Scaled.forward", "bias=bias", "dim=-1"), Change("Scaled.forward", "dim=-1", "bias=bias"))
    mutant = replace(named("MLPBlock/no_activation"), changes=swaps)
    assert "self.norm(x, bias=bias, dim=-1)" in ast.unparse(mutant.tree(SOURCE))


@pytest.mark.parametrize(
    ("where", "node", "sentence"),
    [
        ("Scaled.forwards", "x", "common.py defines no Scaled.forwards; the nearest is Scaled.forward$"),
        (
            "Scaled.forward",
            "self.norm(x, dim=1)",
            r"no `self.norm\(x, dim=1\)` in .*; the nearest is `self.norm\(",
        ),
        (
            "Scaled.forward",
            "y * self.scale",
            "holds `y .*` 2 times in Scaled.forward, not 1: lines 11, 11",
        ),
        ("Scaled", "self.scale", "holds no `self.scale` in Scaled; the nearest is"),
        ("<module>", "1e-6", "holds no `1e-6` in <module>; the nearest is"),
    ],
)
def test_what_is_gone_or_there_twice_is_refused(where: str, node: str, sentence: str) -> None:
    with pytest.raises(StaleMutant, match=r"MLPBlock/no_activation: samblocks/blocks/common\.py "):
        changed(where, node, "z")
    with pytest.raises(StaleMutant, match=sentence):
        changed(where, node, "z")


def test_no_bug_is_planted_in_what_parity_is_built_on() -> None:
    with pytest.raises(StaleMutant, match=r"parity itself is built on samblocks/errors\.py"):
        plant(Mutant(block="MLP", name="x", family="x", why="x", file="samblocks/errors.py"))


def test_planting_forgets_samblocks_but_what_parity_is_built_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(sys.modules)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    try:
        plant(named("MLPBlock/no_activation"))
        assert sys.modules["samblocks.errors"] is errors
        assert "samblocks.blocks.common" in before
        assert "samblocks.blocks.common" not in sys.modules
    finally:
        sys.modules.update(before)


def test_rows_of_a_table() -> None:
    [first, second] = table("""
MLP in samblocks/blocks/common.py
  off | off by one | because | cases: a, b | chunks
    MLP.forward: x[1:] =>
      x[2:]
    MLP.forward: print(x) (2 of 3) =>
  on | off by one | because
      of this | equivalent: no one looks
    MLP.forward: x[1:] => x
""")
    assert first == Mutant(
        block="MLP",
        name="off",
        family="off by one",
        why="because",
        file="samblocks/blocks/common.py",
        changes=(Change("MLP.forward", "x[1:]", "x[2:]"), Change("MLP.forward", "print(x)", "", 2, 3)),
        cases=("a", "b"),
        paths="chunks",
    )
    assert (second.why, second.equivalent, second.cases) == ("because of this", "no one looks", ())
    with pytest.raises(ValueError, match="`where: node => what it becomes`, not 'x'"):
        table("A in b.py\n  x | y | z\n    x")
    with pytest.raises(ValueError, match="A/x notes case; known are cases, equivalent, usual, plain, chunks"):
        table("A in b.py\n  x | y | z | case: a")


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
def test_a_bug_is_planted_seen_and_gone_again(tmp_path: Path) -> None:
    kept = {"MLPBlock/gelu": golden_of("MLPBlock/gelu")}
    case = find("MLPBlock/gelu")
    mutants = [named("MLPBlock/tanh_gelu"), named("MLPBlock/second_layer_without_bias")]
    unseen = replace(
        mutants[0], name="unseen", changes=(Change("MLPBlock.__init__", "nn.GELU", "(nn.GELU)"),)
    )
    stale = replace(mutants[0], name="stale", changes=(Change("MLPBlock.forward", "gone", ""),))
    work = [(mutant, [[case]]) for mutant in (None, *mutants, unseen, stale)]
    results = {r.mutant.name if r.mutant else "": r for r in hunt(work, kept, at_once=2)}
    assert not results[""].killed
    assert results["tanh_gelu"].gates == {"R fp32", "rel fp64"}
    assert not results["tanh_gelu"].missed_by("atol")
    assert results["tanh_gelu"].missed_by("cosine")
    assert "state_dict" in results["second_layer_without_bias"].gates
    assert failed(results["unseen"])
    assert "common.py holds no `gone` in MLPBlock.forward; the nearest is" in results["stale"].broken
    assert failed(results["stale"])
    assert judge(case, kept[case.id]).gates == {}
    lines = list(text([r for r in results.values() if r.mutant is not None]))
    assert any("2 killed, 0 equivalent, 2 survived" in line for line in lines)
    assert any(
        "cosine 0.99 alone would have missed 1 of 2 mutants, and 1 of the 2 cases" in line for line in lines
    )
    write_json(
        [result for result in results.values() if result.mutant is not None], tmp_path / "mutants.json"
    )
    matrix = kill_matrix.matrix(json.loads((tmp_path / "mutants.json").read_text(encoding="utf-8")))
    assert [kill.state for kill in matrix.kills] == ["broken", "survived", "killed", "killed"]
    assert {kill.name: kill.missed for kill in matrix.kills if kill.missed} == {"tanh_gelu": ("cosine",)}
    assert {kill.case for kill in matrix.kills} == {"", case.id}
    assert matrix.usual["cosine"] == "cosine 0.99"


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_mutant_that_does_not_end_is_killed_by_the_clock() -> None:
    sleeps = Change("MLPBlock.forward", "self.act(linear(self.lin1, x))", "__import__('time').sleep(60)")
    mutant = replace(named("MLPBlock/no_activation"), changes=(sleeps,))
    case = find("MLPBlock/gelu")
    [result] = hunt([(mutant, [[case]])], {case.id: golden_of(case.id)}, timeout=1.0)
    assert result.gates == {"timeout"}


def test_an_equivalent_mutant_is_no_failure() -> None:
    result = Result(replace(named("MLPBlock/no_activation"), equivalent="because"))
    assert not failed(result)


def test_the_list_is_printed_without_running_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mutants", "--list", "--only", "MLP"]) == 0
    assert "MLP/residual_left_out" in capsys.readouterr().out
    assert main(["mutants", "--only", "nobody"]) == 2
    assert "no mutant is called" in capsys.readouterr().err
