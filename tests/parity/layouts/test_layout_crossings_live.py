"""How files cross to upstream packages, as far as it can be tried without them; with them, one small variant."""

import sys
from pathlib import Path

import pytest
import torch

from parity.__main__ import main
from parity.errors import WorkerError
from parity.layouts import crossings, probe
from parity.verdict.compare import Verdict
from parity.workers.client import interpreter
from parity.workers.one_request import ask
from samblocks.models import build


def test_every_variant_has_libraries():
    assert [found.name for found in crossings.crossings("mobile_sam")] == ["ultralytics"]
    assert {found.library for found in crossings.crossings("sam_vit_h")} == {
        "segment-anything",
        "ultralytics",
        "transformers",
        "timm",
    }
    names = [found.name for found in crossings.crossings("sam2.1_hiera_base_plus")]
    assert names == ["sam2", "ultralytics", "transformers Sam2VideoModel", "transformers Sam2Model", "timm"]
    assert crossings.crossings("sam2.1_hiera_base_plus")[1].file == "sam2.1_b.pt"


def test_without_the_references_nothing_runs(tmp_path, capsys):
    assert main(["layouts", "--live", "--variant", "mobile_sam", "--references", str(tmp_path)]) == 3
    assert "NOT RUN" in capsys.readouterr().out


def test_outputs_are_judged_by_name_shape_and_value():
    ours = {"a": torch.tensor([1.0, 2.0]), "b": torch.zeros(3)}
    assert crossings._judge(ours, {"a": torch.tensor([[1.0, 2.0]])}, "") == (
        Verdict.EXACT,
        "1 outputs, all bit-equal",
    )
    verdict, seen = crossings._judge(ours, {"a": torch.tensor([1.0, 2.0 + 2e-5])}, "; more")
    assert (verdict, seen) == (Verdict.WITHIN, "1 outputs, within 1e-05 (a); more")
    assert crossings._judge(ours, {"a": torch.tensor([1.0, 2.1])}, "")[0] is Verdict.DIVERGED
    assert crossings._judge(ours, {"a": torch.tensor([1.0, float("nan")])}, "")[0] is Verdict.DIVERGED
    verdict, seen = crossings._judge(ours, {"b": torch.zeros(4)}, "")
    assert (verdict, seen) == (Verdict.DIVERGED, "b is (4,) there, (3,) here")


def test_the_probe_asks_every_stage():
    """Each stage's output moves when a weight of that stage does."""
    model = build("mobile_sam")
    given = probe.inputs("mobile_sam")
    given["image"] = given["image"][:, :, :1024, :1024]
    model.image_encoder = torch.nn.Identity()
    with torch.no_grad():
        first = probe.outputs(model, "mobile_sam", given)
        model.prompt_encoder.mask_downscaling[6].bias += 1
        second = probe.outputs(model, "mobile_sam", given)
    assert set(first) == {"image", "dense", "masks", "quality"}
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert changed == {"dense", "masks", "quality"}


def test_what_fails_on_the_other_side_is_told_in_its_last_words():
    with pytest.raises(WorkerError, match="ModuleNotFoundError"):
        ask("no such", Path(sys.executable), "parity.references.no_such_module", {}, {"x": torch.zeros(1)})


@pytest.mark.live
@pytest.mark.skipif(interpreter() is None, reason="make references")
def test_mobile_sam_crosses_both_ways(capsys):
    assert main(["layouts", "--live", "--variant", "mobile_sam"]) == 0
    assert "2 crossings" in capsys.readouterr().out
