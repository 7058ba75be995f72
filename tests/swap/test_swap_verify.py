"""The verdict on a swap, and the commands that show and prove swaps."""

import json

import pytest
import torch
from fake_hosts import picture, pipeline
from torch import nn

from parity.__main__ import main as parity_main
from samblocks import swap_blocks
from samblocks.cli import main
from samblocks.swap.verify import judge


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
    verification = report.verify(picture())
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
    assert seen == [model, model]


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


def test_judging_single_outputs():
    a = torch.arange(4.0)
    assert judge("x", None, a, None).verdict == "INCOMPARABLE"
    assert judge("x", a.double(), a, None).verdict == "INCOMPARABLE"
    assert judge("x", a * torch.nan, a * torch.nan, None).verdict == "EXACT"
    assert judge("x", a * torch.nan, a, None).verdict == "DIVERGED"
    few, exact = torch.tensor([1.0]), torch.tensor([1.0], dtype=torch.float64)
    assert judge("x", few + 4e-7, few, exact).verdict == "DIVERGED"  # the host's one number is exact by luck
    assert judge("x", few + 4e-7, few, exact, usual=3e-7).verdict == "NOISE"
    assert judge("x", few + 4e-6, few, exact, usual=3e-7).verdict == "DIVERGED"
    many = a.repeat(256)
    assert judge("x", many * (1 + 4e-7), many, many.double(), usual=3e-7).verdict == "DIVERGED"
    flipped = judge("x", a > 1, a > 2, None)
    assert (flipped.verdict, flipped.flipped) == ("DIVERGED", 1)
    assert judge("x", a + 1e-7, a, a.double()).verdict in ("NOISE", "WITHIN")


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
