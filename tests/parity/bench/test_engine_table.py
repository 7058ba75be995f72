"""The tables of engines and of sensitivity, without a runtime."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from parity.__main__ import main
from parity.bench import sensitivity
from parity.commands import engines
from parity.reports.engine_table import page
from samblocks.engines import recipes

ROWS = [
    {"model": "a.pt", "engine": "eager f32", "missing": "", "setup": 0, "encode": 2.0, "decode": 0.1, "speed": 1.0,
     "memory": 2e6, "figures": None},
    {"model": "a.pt", "engine": "openvino f32", "missing": "", "setup": 7, "encode": 1.0, "decode": 0.1, "speed": 1.9,
     "memory": 1e6, "figures": {"verdict": "WITHIN", "ratio": 1.2, "flipped": 1, "pixels": 9, "beyond": 0,
                                "score": None, "iou": 0.99}},
    {"model": "a.pt", "engine": "compile f32", "missing": "no <compiler>", "figures": None},
]  # fmt: skip


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    rows = [json.loads(json.dumps(row)) for row in ROWS]
    monkeypatch.setattr(engines, "measured_rows", lambda python, job, threads: iter(rows))
    monkeypatch.setattr(engines, "_interpreter", lambda peers: Path("python"))
    return rows


def test_the_table_is_printed_and_written(
    measured, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "t.json"), "--html", str(tmp_path / "t.html")]
    assert main(["engines", "--checkpoint", "a.pt", *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.count("|") == 13 for line in lines if "NOT RUN" not in line)
    assert "| 1.90 | 1 MB | 7 s | 1.2 | 1 of 9 | 0 | - | 0.9900 |" in lines[3]
    assert "NOT RUN: no <compiler>" in lines[4]
    assert json.loads((tmp_path / "t.json").read_text())["rows"] == ROWS
    assert "no &lt;compiler&gt;" in (tmp_path / "t.html").read_text()
    assert page({"environment": {}, "pictures": [], "rows": []}).endswith("</html>\n")


def test_what_does_not_hold_or_run_is_the_status(measured, monkeypatch: pytest.MonkeyPatch) -> None:
    measured[1]["figures"]["verdict"] = "DIVERGED"
    assert main(["engines"]) == 1
    measured[1]["missing"] = "no runtime"
    measured[1]["figures"] = None
    assert main(["engines"]) == 3
    assert main(["engines", "--engine", "tensorrt"]) == 2
    monkeypatch.setattr(engines, "_interpreter", lambda peers: None)
    assert main(["engines"]) == 3


def test_the_layer_that_matters_is_ranked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16))
    with torch.no_grad():
        model[1].weight[:, :8] *= 1000  # inputs are given few steps, and what they carry is small beside it
        model[1].weight[:, :8] = model[1].weight[:, :8].round()
    x = torch.randn(64, 16)
    for name, value in (
        ("short_drive", lambda model, scores: lambda model, images: {"masks": model(images)}),
        ("made_up", lambda model: x),
        ("chosen", lambda model, by: list(model.named_children())),
    ):
        monkeypatch.setattr(sensitivity, name, value)
    weights = [layer.weight for layer in model]
    for precision in ("int8", "bf16"):
        found = sensitivity.ranked(list(sensitivity.effects(model, precision, "layer", [])))
        assert len(found) == 3
        assert [(-row.flipped, -row.ratio) for row in found] == sorted(
            (-row.flipped, -row.ratio) for row in found
        )
        assert all(row.ratio > 50 for row in found)  # bf16 keeps 8 bits of 24
    assert all(layer.weight is weight for layer, weight in zip(model, weights, strict=True))
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in model)


def test_int8_has_255_steps() -> None:
    weight = torch.randn(3, 40)
    narrow = sensitivity._int8_weight(weight, 0)
    assert all(len(row.unique()) <= 255 for row in narrow)
    assert float((narrow - weight).abs().max()) <= float(weight.abs().max()) / 254 + 1e-6
    (found,) = sensitivity._int8_inputs(-1.0, 3.0)(nn.Identity(), (torch.linspace(-2, 5, 9999),))
    assert len(found.unique()) == 256
    np.testing.assert_allclose([float(found.min()), float(found.max())], [-1, 3], atol=0.02)


def test_blocks_and_layers_of_a_model() -> None:
    from samblocks.models.skeleton import skeleton

    model = skeleton("sam_vit_b")
    blocks = [path for path, _ in sensitivity.chosen(model, "block")]
    assert {"image_encoder.blocks.0", "image_encoder.blocks.11", "image_encoder.neck"} <= set(blocks)
    layers = [path for path, _ in sensitivity.chosen(model, "layer")]
    assert "image_encoder.blocks.0.attn.qkv" in layers
    assert set(
        recipes.wide_modules({"format": recipes.FORMAT, "precision": "int8", "wide": layers}, "int8")
    ) == set(layers)
    recipes.check(layers + blocks, model)
