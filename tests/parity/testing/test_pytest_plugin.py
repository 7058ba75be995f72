"""The plugin as a stranger uses it: their project is copied to a folder of its own and run with pytest."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

import parity
import parity.reports.summary
import parity.testing.fixture
import parity.testing.session

ROOT = Path(__file__).parents[3]
PROJECT = ROOT / "tests" / "data" / "example_project"


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
    return lambda *options: pytester.runpytest_inprocess("-q", "-p", "samblocks.pytest_plugin", *options)


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
    assert sorted(c["output"] for c in document["cases"]) == ["gradient/0", "out", "out"]
    assert all(c["ratio"] is None or c["ratio"] <= 2 for c in document["cases"])

    plant_a_bug(project)
    planted = session()
    planted.assert_outcomes(failed=2)
    assert "another function: the relative difference in float64 is" in planted.stdout.str()
    assert "the candidate's code diverged" in planted.stdout.str()  # and the golden is not stale


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
    assert "2 outputs compared, 2 of them in an earlier run" in again.stdout.str()
    cases = json.loads((project / "q.json").read_text())["cases"]
    assert [case["resumed"] for case in cases] == [True, True]
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


def test_the_plugin_imports_pytest_alone() -> None:
    code = "import sys, samblocks.pytest_plugin; print(*sys.modules.keys() & {'torch', 'numpy', 'parity'})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


FIVE_PLACES = """
import torch
X = torch.linspace(-2, 2, 64)

def test(parity):
    parity.check(torch.sin, torch.sin, X)
    parity.check(
        lambda t: t.tanh() * 1.01, torch.tanh, X)
"""


def test_a_failure_says_which_check_it_is_and_what_to_do(project: Path, session: Session) -> None:
    (project / "test_five.py").write_text(FIVE_PLACES)
    done = session("test_five.py").stdout.str()
    assert re.search(r"^FAILED test_five.py::test - .*R \d", done, re.MULTILINE)
    for said in (
        "in out (check #2, test_five.py:7): another function",
        "at [0] (-0.9736679, not -0.9640276)",
        "next: pytest test_five.py::test --parity-html=parity.html",
    ):
        assert said in done


def test_a_missing_golden_is_one_sentence(project: Path, session: Session) -> None:
    done = session("-k", "golden").stdout.str()
    assert "does not exist; record it once from the reference: pytest --parity-record (check #1" in done
    assert "During handling of the above exception" not in done
    assert "parity/testing" not in done
    assert "Traceback" not in done


def test_reports_make_their_folders_and_are_written_without_results(project: Path, session: Session) -> None:
    assert (
        session("-k", "nothing_of_this_name", "--parity-json=a/b/p.json", "--parity-html=c/p.html").ret == 5
    )
    assert json.loads((project / "a/b/p.json").read_text())["cases"] == []
    assert (project / "c/p.html").exists()


def test_resuming_knows_every_file_of_the_project(project: Path, session: Session) -> None:
    (project / "kernels.py").write_text("def scale(x):\n    return x * 2\n")
    (project / "test_far.py").write_text(
        "import kernels, torch\n"
        "def test(parity):\n"
        "    parity.check(lambda t: kernels.scale(t), lambda t: t + t, torch.linspace(0, 1, 9))\n"
    )
    sys.path.insert(0, str(project))
    try:
        session("test_far.py", "-p", "cacheprovider").assert_outcomes(passed=1)
        assert "1 of them in an earlier run" in session("test_far.py", "--parity-resume").stdout.str()
        (project / "kernels.py").write_text("def scale(x):\n    return x * 3 - x + x * 0.001\n")
        session("test_far.py", "--parity-resume").assert_outcomes(failed=1)
    finally:
        sys.path.remove(str(project))


def test_what_held_is_kept_although_the_run_is_interrupted(project: Path, session: Session) -> None:
    (project / "test_killed.py").write_text(
        "import os, signal, torch\n"
        "def test_a(parity):\n    parity.check(torch.sin, torch.sin, torch.ones(3))\n"
        "def test_b():\n    os.kill(os.getpid(), signal.SIGKILL) if 'DIE' in os.environ else None\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "samblocks.pytest_plugin", "test_killed.py"]
    killed = subprocess.run(
        command, cwd=project, env={**os.environ, "DIE": "1"}, capture_output=True, check=False
    )
    assert killed.returncode < 0
    again = subprocess.run(
        [*command, "--parity-resume"],
        cwd=project,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 of them in an earlier run" in again.stdout


def test_a_long_check_says_what_it_does(
    project: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity.testing.fixture, "_SILENT", 0.0)
    (project / "test_slow.py").write_text(
        "import torch\ndef test(parity):\n    parity.check(torch.sin, torch.sin, torch.ones(3))\n"
    )
    done = session("test_slow.py")
    assert re.search(r"parity: test_slow\.py::test#1: float64 \(after \d+ s\)", done.stderr.str())


TWICE = """
import pytest, torch
from torch import nn
from parity.fill import fill_

class Ref(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.a = nn.Linear(n, 4)
    def forward(self, x):
        return self.a(x)

class Mine(Ref):
    def forward(self, x):
        return x @ self.a.weight.T + self.a.bias

def hold(parity, n):
    x = torch.linspace(-1, 1, 2 * n).reshape(2, n)
    parity.golden("block", fill_(Mine(n)).eval(), x, fill_(Ref(n)).eval())
"""


def test_parameters_are_part_of_a_goldens_name(project: Path, session: Session) -> None:
    (project / "test_twice.py").write_text(
        TWICE + "@pytest.mark.parametrize('n', [8, 16])\ndef test_block(parity, n):\n    hold(parity, n)\n"
    )
    session("test_twice.py", "--parity-record").assert_outcomes(passed=2)
    assert (project / "goldens" / "block[16].safetensors").exists()
    session("test_twice.py").assert_outcomes(passed=2)


def test_a_golden_belongs_to_one_test(project: Path, session: Session) -> None:
    two = "def test_one(parity):\n    hold(parity, 8)\ndef test_two(parity):\n    hold(parity, 16)\n"
    (project / "test_twice.py").write_text(TWICE + two)
    done = session("test_twice.py", "--parity-record")
    done.assert_outcomes(passed=1, failed=1)
    assert "test_twice.py::test_one and test_twice.py::test_two would overwrite" in done.stdout.str()
    (project / "test_twice.py").write_text(TWICE + two.replace("test_one", "test_un").replace("8", "16"))
    session("test_twice.py", "--parity-record", "-k", "two").assert_outcomes(passed=1)  # its owner is gone


def test_a_stale_golden_is_told_from_a_diverged_one(project: Path, session: Session) -> None:
    source = project / "test_twice.py"
    one = TWICE + "def test_one(parity):\n    hold(parity, 8)\n"
    source.write_text(one)
    session("test_twice.py", "--parity-record").assert_outcomes(passed=1)
    source.write_text(
        one.replace("fill_(Mine(n)).eval()", "fill_(Mine(n)).eval().requires_grad_(False).mul()").replace(
            "class Mine(Ref):",
            "class Mine(Ref):\n    def mul(self):\n        self.a.weight.mul_(1.5)\n        return self\n",
        )
    )
    stale = session("test_twice.py").stdout.str()
    assert "it may be stale: since then the candidate's weights changed (a.weight)" in stale
    assert "0 days ago by test_twice.py::test_one" in stale
    source.write_text(one.replace("torch.linspace(-1, 1", "torch.linspace(-1, 2"))
    assert (
        "is stale: it was recorded with other inputs (recorded from" in session("test_twice.py").stdout.str()
    )


def test_a_project_with_a_parity_of_its_own_can_start_pytest(project: Path) -> None:
    (project / "parity.py").write_text("def even(n):\n    return n % 2 == 0\n")
    (project / "test_even.py").write_text(
        "from parity import even\ndef test_even():\n    assert even(2)\ndef test_ours(parity):\n    pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "samblocks.pytest_plugin", "test_even.py"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert "1 passed, 1 error" in done.stdout
    told = re.search(r"need (\S+), but the name 'parity' belongs to (\S+) in this project", done.stdout)
    assert told is not None
    assert Path(told[1]) == Path(parity.__file__)
    assert Path(told[2]) == project / "parity.py"
