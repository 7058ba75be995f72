"""The wheel, built and installed: what it carries, and that its commands and its plugin run from there."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(command: Sequence[object], cwd: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | variables
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed into."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    pytest.importorskip("pip", reason="nothing is there to install the wheel with")
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    assert run(["-c", build, folder], ROOT).returncode == 0
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    done = run(["-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel], folder)
    assert done.returncode == 0, done.stderr
    return target


def test_the_list_of_checkpoints(installed: Path, tmp_path: Path) -> None:
    assert (installed / "samblocks/checkpoints/published/checkpoints.lock").is_file()
    program = (
        "import samblocks, sys; from samblocks.cli import main; print(samblocks.__file__); sys.exit(main())"
    )
    done = run(["-c", program, "list"], tmp_path, PYTHONPATH=str(installed))
    assert done.stdout.startswith(str(installed))
    assert "sam2.1_hiera_tiny" in done.stdout


def test_the_plugin(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import torch\n\n"
        "def test_it(parity):\n"
        "    parity.check(torch.nn.Identity(), torch.nn.Identity(), (torch.ones(3),))\n"
    )
    report = tmp_path / "report.json"
    done = run(["-m", "pytest", "-q", "--parity-json", report], tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 0, done.stdout
    assert [entry["verdict"] for entry in json.loads(report.read_text())["cases"]] == ["EXACT"]


def test_a_run_without_references(installed: Path, tmp_path: Path) -> None:
    variables = {"PYTHONPATH": str(installed), "SAMBLOCKS_REFERENCES": str(tmp_path / "none")}
    done = run(["-m", "parity", "run", "--block", "MLPBlock"], tmp_path, **variables)
    assert (done.returncode, done.stderr) == (3, "")
    assert "NOT RUN" in done.stdout


def test_goldens_are_carried(installed: Path) -> None:
    carried = {file.relative_to(installed) for file in (installed / "parity/goldens").rglob("*.safetensors")}
    assert carried == {file.relative_to(ROOT) for file in (ROOT / "parity/goldens").rglob("*.safetensors")}
