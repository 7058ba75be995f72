"""`make overlay`: from a fresh clone to a mask on a photograph. Its commands run as they stand, on a small model."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from parity.__main__ import main as parity_main
from samblocks.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_commands_of_the_first_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow = pytest.importorskip("PIL.Image")
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    asked = [
        "make",
        "-n",
        "-o",
        ".venv/.made",
        "overlay",
        "PY=python",
        f"SCRATCH={tmp_path}",
        "VARIANT=mobile_sam",
    ]
    said = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(ROOT)
    ran = []
    for line in said.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        if words[:2] == ["python", "-m"]:
            ran.append(words[2])
            assert {"parity": parity_main, "samblocks": main}[words[2]](words[3:]) == 0
    assert ran == ["parity", "samblocks"]
    shown, photograph = (
        np.asarray(pillow.open(file)) for file in (tmp_path / "overlay.png", "parity/data/truck.jpg")
    )
    assert shown.shape == photograph.shape
    [mask] = json.loads((tmp_path / "overlay.json").read_text())["masks"]
    assert 0 < mask["area"] < shown.shape[0] * shown.shape[1]
    assert "`make overlay`" in (ROOT / "README.md").read_text(encoding="utf-8")
