"""`samblocks doctor`: everything that a report of a bug needs, and what is missing is said."""

import importlib
import os
import sys
from pathlib import Path

import pytest
import torch

import samblocks
from parity.execution.personalities import PERSONALITIES
from samblocks.cli import main
from samblocks.ops.half_precision import has_fast_products

ROOT = Path(__file__).parents[2]


def test_everything_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"samblocks {samblocks.__version__}\n")
    assert f"torch {torch.__version__}" in out
    assert f"kernels: ATen {torch.backends.cpu.get_cpu_capability()}" in out
    assert f"{os.cpu_count()} threads" in out
    for dtype in (torch.bfloat16, torch.float16):
        way = (
            "this processor's own products"
            if has_fast_products(dtype)
            else "computed in float32 inside modules"
        )
        assert f"\n{dtype}: {way}\n" in out
    for one in PERSONALITIES:
        (line,) = (line for line in out.splitlines() if line.split()[:1] == [one.name])
        assert line.endswith("in this process") == (one.name == "mkl-compatible")


def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "parity.execution.personalities"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch cannot be imported" in out
    assert "the yardstick cannot be imported" in out


def test_the_bill_of_materials(monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    dist = importlib.import_module("dist")
    found = json.loads(dist.sbom({"samblocks-9.9-py3-none-any.whl": "ab", "samblocks-9.9.tar.gz": "cd"}))
    assert found["metadata"]["component"]["version"] == "9.9"
    assert found["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "ab"}]
    assert {one["name"] for one in found["components"]} == {
        "torch",
        "numpy",
        "safetensors",
        "huggingface_hub",
    }
