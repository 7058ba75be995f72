"""The verdict on a swap, and the commands that show and prove swaps."""

import json
from dataclasses import replace

import pytest
import torch
from fake_hosts import picture, pipeline
from torch import nn

from parity.__main__ import main as parity_main
from samblocks import SwapError, swap_blocks
from samblocks.cli import main
from samblocks.numerics.draws import answered
from samblocks.numerics.verdict import Verdict, compare, compare_double
from samblocks.swap import verify as verifying
from samblocks.swap.float64 import widened
from samblocks.swap.hosts import blocks as hosts
from samblocks.swap.verify import SAME, judge


def test_equal_bits_are_exact():
    model = pipeline()
    report = swap_blocks(model)
    verification = report.verify(picture())
    assert report.applied
    assert verification.holds
    assert verification.verdict == "EXACT"
    assert verification.ratio is None
    assert "EXACT: 1 outputs" in str(verification)
    assert json.loads(json.dumps(verification.to_dict()))["verdict"] == "EXACT"


def test_another_order_of_operations_is_within():
    model = pipeline()
    report = swap_blocks(model)
    model.norm.in_steps = False
    for layer in model.decoder.layers:
        layer.self_attn.implementation = "fused"
    said: list[str] = []
    verification = report.verify(picture(), progress=said.append)
    assert said[:3] == ["the host, twice", "with our modules", "both in float64"]
    assert verification.holds
    assert verification.verdict in ("WITHIN", "NOISE")
    assert 0 < verification.ratio <= 2


def test_a_wrong_epsilon_diverges():
    model = pipeline()
    report = swap_blocks(model)
    model.norm.eps = 1e-4
    verification = report.verify(picture())
    assert not verification.holds
    assert verification.verdict == "DIVERGED"
    assert verification.ratio > 2
    assert verification.outputs[0].cause.startswith("another function")
    report.undo()
    assert not report.applied


def test_flags_and_random_numbers_are_left_alone():
    model = pipeline().train()
    report = swap_blocks(model)
    report.undo()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert report.verify(picture()).verdict == "EXACT"  # dropout is off meanwhile
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert not report.applied


def test_a_run_of_ones_own():
    model = pipeline()
    report = swap_blocks(model)
    seen = []

    def run(given, image):
        seen.append(given)
        return {"a": given(image), "b": [image.sum().numpy()]}

    verification = report.verify(picture(), run=run)
    assert [row.output for row in verification.outputs] == ["out['a']", "out['b'][0]"]
    assert seen == [model, model, model]  # the host twice, from different random states


def test_without_float64_the_relative_difference_decides():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = pipeline()

        def forward(self, image):
            if self.inner.stem.weight.dtype != torch.float32:
                raise RuntimeError("float32 only")
            return self.inner(image)

    model = Picky()
    report = swap_blocks(model)
    model.inner.norm.in_steps = False
    (row,) = report.verify(picture()).outputs
    assert row.verdict == "WITHIN"
    assert row.ratio is None
    assert "float32 only" in row.cause
    model.inner.norm.eps = 1e-2
    assert report.verify(picture()).verdict == "DIVERGED"


def judged(ours, host, truth=None, double=None):
    found = None if ours is None else compare(ours, host, truth)
    wide = None if double is None else compare_double(double, truth, bound=SAME)
    return judge("x", ours, host, found and answered(found, wide), wide, "no truth")


def test_judging_single_outputs():
    a = torch.arange(4.0)
    assert judged(None, a).verdict == "INCOMPARABLE"
    assert judged(a.double(), a).verdict == "INCOMPARABLE"
    assert judged(a * torch.nan, a * torch.nan).verdict == "INCOMPARABLE"  # nothing was compared
    strange = torch.tensor([1.0, torch.nan, torch.inf, -torch.inf])
    assert judged(strange, strange.clone()).verdict == "EXACT"
    assert judged(strange + torch.tensor([1e-7, 0, 0, 0]), strange, strange.double()).verdict == "NOISE"
    assert judged(strange, -strange, strange.double()).verdict == "DIVERGED"
    assert judged(a * torch.nan, a).verdict == "DIVERGED"
    flipped = judged(a > 1, a > 2)
    assert (flipped.verdict, flipped.flipped) == ("DIVERGED", 1)
    assert judged(a + 1e-7, a, a.double()).verdict in ("NOISE", "WITHIN")


def test_each_question_has_its_answer():
    a = torch.arange(1.0, 5.0)
    rounded = judged(a + 1e-7, a, a.double(), a.double())
    assert (rounded.verdict, rounded.cause, rounded.double) == ("NOISE", "", 0.0)
    coarse = judged(a + 1e-5, a, a.double(), a.double())
    assert coarse.verdict == "DIVERGED"
    assert coarse.cause.startswith("the same function, less precise: R is above")
    other = judged(a + 1e-7, a, a.double(), a.double() + 1e-7)
    assert other.verdict == "DIVERGED"  # however small its R
    assert other.ratio < 2
    assert other.cause.startswith("another function")
    unknown = judged(a + 1e-5, a, a.double())
    assert unknown.cause.startswith("less precise, or another function")


def test_a_first_alarm_is_decided_by_more_inputs(monkeypatch):
    calls = []

    def alarmed(ours, host, truth, **kwargs):
        found = compare(ours, host, truth, **kwargs)
        calls.append(found)
        if truth is not None and len(calls) == 2:  # the first draw, once there is a truth
            return replace(found, verdict=Verdict.DIVERGED, ratio=3.0, max_abs=1e-6, cause="R is above 2")
        return found

    model = pipeline()
    report = swap_blocks(model)
    model.norm.in_steps = False
    monkeypatch.setattr(verifying, "compare", alarmed)
    (row,) = report.verify(picture()).outputs
    assert row.verdict == "WITHIN"
    assert row.draws == 8
    assert row.cause.startswith("R 3 in the first draw, ")
    calls.clear()
    (row,) = report.verify(run=lambda given: given(picture())).outputs  # nothing here that could be varied
    assert (row.verdict, row.draws) == ("WITHIN", 1)
    assert row.cause == "one draw, R 3: decided by float64"


class Draws(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.inner = pipeline()
        self.drop = nn.Dropout(0.1)
        self.kind, self.calls = kind, 0

    def forward(self, image):
        self.calls += 1
        out = self.inner(image)
        return out * self.calls if self.kind == "state" else self.drop(out)


def test_a_random_host_is_refused():
    model = Draws("dropout")
    report = swap_blocks(model)
    assert report.verify(picture()).verdict == "EXACT"  # dropout is off meanwhile
    with pytest.raises(SwapError, match=r"is random.*training mode: drop;.*random numbers: drop: Dropout\("):
        report.verify(picture(), run=lambda given, x: (given.drop.train(), given(x))[1])
    assert report.applied

    def seeded(given, x):
        torch.manual_seed(3)
        return (given.drop.train(), given(x))[1]

    assert report.verify(picture(), run=seeded).verdict == "EXACT"


def test_a_host_that_keeps_state_is_refused():
    with pytest.raises(SwapError, match=r"keeps state between calls.*output 'out' differs by"):
        swap_blocks(Draws("state")).verify(picture())


FACTORY = """
from fake_hosts import pipeline

model = pipeline()

def nothing():
    from torch import nn
    return nn.Linear(2, 2)
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "somebodys_models.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    return "somebodys_models"


def test_swap_plan(factory, capsys):
    assert main(["swap-plan", "fake_hosts:pipeline"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 would be swapped, 0 kept"
    assert main(["swap-plan", f"{factory}:model", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["dry_run"] is True
    assert [row["path"] for row in plan["modules"]] == ["fuser", "norm", "decoder", "memory"]
    assert main(["swap-plan", f"{factory}:nothing"]) == 1


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("fake_hosts", "package.module:function"),
        ("no_such_package:f", "cannot import"),
        ("fake_hosts:no_such_name", "has no"),
        ("json:loads", "argument"),
        ("json:dumps.__name__", "model must be"),
        ("fake_hosts:FusedNorm", "fake_hosts:FusedNorm failed: TypeError"),
    ],
)
def test_swap_plan_says_what_is_wrong(name, word, capsys):
    assert main(["swap-plan", name]) == 2
    error = capsys.readouterr().err
    assert error.startswith("samblocks: ")
    assert len(error.splitlines()) == 1
    assert word in error


def test_parity_swap_without_references(tmp_path, capsys):
    assert parity_main(["swap", "--references", str(tmp_path)]) == 3
    assert "make references" in capsys.readouterr().err
    for arguments in (["--size", "100"], ["--repeats", "-1"], ["--threads", "0"]):
        assert parity_main(["swap", *arguments]) == 2


@pytest.mark.parametrize("wrong", [lambda table: (len(table), 1), lambda table: (2, len(table) // 2)])
def test_a_wrong_reading_of_a_host_is_not_its_own_truth(monkeypatch, wrong):
    """For which grid a rotary table was made a host does not keep: read wrongly, ours is wrong, and not the truth."""
    monkeypatch.setattr(hosts, "_grid", wrong)
    model = pipeline()
    verification = swap_blocks(model).verify(picture())
    assert verification.verdict == "DIVERGED"
    assert verification.outputs[0].cause.startswith("another function")


def test_the_truth_of_a_host_has_the_table_of_float64():
    model = pipeline()
    [turned, *_] = [one for one in model.modules() if hasattr(one, "freqs_cis")]
    rounded = turned.freqs_cis
    [wide, *_] = [one for one in widened(model).modules() if hasattr(one, "freqs_cis")]
    error = (wide.freqs_cis - rounded).abs().max()
    assert wide.freqs_cis.dtype == torch.complex128
    assert 0 < error < 1e-6
    turned.freqs_cis = rounded * 1.001  # a table that is none of the settings': it stays the host's own
    [wide, *_] = [one for one in widened(model).modules() if hasattr(one, "freqs_cis")]
    assert (wide.freqs_cis == turned.freqs_cis.to(torch.complex128)).all()
