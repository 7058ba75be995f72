"""The plugin as a stranger uses it: their project is copied to a folder of its own and run with pytest."""

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import parity
import parity.testing.fingerprint
import parity.testing.golden_file

ROOT = Path(__file__).parents[3]
PROJECT = ROOT / "tests" / "data" / "example_project"


@pytest.fixture(scope="module", autouse=True)
def _everything_is_imported() -> None:
    # A session inside this process forgets what it imported; parts of torch cannot be imported twice.
    assert parity.check(torch.square, torch.square, torch.ones(2), gradients=True)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the processes of pytest-xdist
    shutil.copytree(PROJECT, pytester.path, dirs_exist_ok=True)
    pytester.makeini("[pytest]\n")
    return pytester.path


Session = Callable[..., pytest.RunResult]


@pytest.fixture
def session(pytester: pytest.Pytester, project: Path) -> Session:
    return lambda *options: pytester.runpytest_inprocess("-q", "-p", "parity.testing.pytest_plugin", *options)


def plant_a_bug(project: Path) -> None:
    source = project / "test_stranger.py"
    source.write_text(source.read_text().replace("+ 1e-6", "+ 1e-5"))


def test_a_stranger_records_once_and_is_judged_from_then_on(project: Path, session: Session) -> None:
    before = session()
    assert before.ret == 1
    assert "--parity-record" in before.stdout.str()  # no golden yet: it says what to do
    assert session("--parity-record", "--junitxml=j.xml", "--parity-json=p.json").ret == 0
    golden = project / "goldens" / "norm.safetensors"
    assert golden.exists()

    properties = [p.get("name") for p in ET.parse(project / "j.xml").iter("property")]
    assert properties.count("parity") == 3
    document = json.loads((project / "p.json").read_text())
    assert [c["output"] for c in document["cases"]] == ["gradient/0", "out", "out"]
    assert all(c["ratio"] is None or c["ratio"] <= 2 for c in document["cases"])

    plant_a_bug(project)
    planted = session()
    planted.assert_outcomes(failed=2)
    assert "R is above 2" in planted.stdout.str()


def test_the_page_has_maps_and_the_junit_file_has_none(project: Path, session: Session) -> None:
    plant_a_bug(project)
    session("--parity-record", "--parity-html=p.html", "--junitxml=j.xml", "--parity-json=p.json")
    page = (project / "p.html").read_text()
    assert page.count('<img src="data:image/png') == 2
    assert "2 of 2 comparisons did not hold" in page
    for file in ("j.xml", "p.json"):
        text = (project / file).read_text()
        assert "ratio" in text
        assert "levels" not in text


def test_an_interrupted_run_goes_on(project: Path, session: Session) -> None:
    first = session("-k", "side", "-p", "cacheprovider")
    first.assert_outcomes(passed=1)
    assert "parity: 2 outputs compared" in first.stdout.str()
    again = session("-k", "side", "--parity-resume", "--parity-json=q.json")
    again.assert_outcomes(passed=1)
    assert not (project / "q.json").exists()  # nothing had to be compared again
    plant_a_bug(project)
    session("-k", "side", "--parity-resume").assert_outcomes(failed=1)


def test_results_come_back_from_xdist(project: Path, session: Session) -> None:
    session("-p", "xdist.plugin", "-n", "1", "-k", "side", "--parity-json=p.json").assert_outcomes(passed=1)
    assert len(json.loads((project / "p.json").read_text())["cases"]) == 2


def test_a_golden_recorded_from_the_candidate_is_refused(project: Path, session: Session) -> None:
    source = project / "test_stranger.py"
    source.write_text(source.read_text().replace("reference=TheirNorm()", "reference=OurNorm()"))
    done = session("--parity-record", "-k", "golden")
    done.assert_outcomes(failed=1)
    assert "the reference is the candidate itself" in done.stdout.str()
    assert not (project / "goldens").exists()


def test_the_plugin_alone_imports_no_torch() -> None:
    code = "import sys, parity.testing.pytest_plugin; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
