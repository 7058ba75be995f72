"""The action's steps as shell scripts, in a project, with a stand-in for GitHub's comments."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from parity.commands import comment
from parity.reports.comment import MARK, markdown

ROOT = Path(__file__).parents[2]
INTEGRATIONS = ROOT / "integrations"
PROJECT = ROOT / "tests" / "data" / "example_project"


class Comments(HTTPServer):
    """Keeps comments as GitHub and GitLab do."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: dict[int, str] = {1: "somebody else's"}
        self.seen: list[tuple[str, str, str]] = []


class Handler(BaseHTTPRequestHandler):
    server: Comments

    def _answer(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or ""
        self.server.seen.append((self.command, self.path, token))
        if self.command == "POST":
            self.server.bodies[len(self.server.bodies) + 1] = json.loads(text)["body"]
        elif self.command != "GET":
            self.server.bodies[int(self.path.rpartition("/")[2])] = json.loads(text)["body"]
        found = [{"id": number, "body": body} for number, body in self.server.bodies.items()]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    do_GET = do_POST = do_PATCH = do_PUT = _answer

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def comments() -> Iterator[Comments]:
    with Comments() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder)
    (folder / "event.json").write_text(json.dumps({"pull_request": {"number": 7}}))
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def steps() -> dict[str, dict]:
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    return {step["name"]: step for step in found if "run" in step}


def run(name: str, project: Path, comments: Comments, **values: str) -> "subprocess.CompletedProcess[str]":
    """A step as the runner does it: expressions put in, then the shell."""
    step = steps()[name]
    known = {
        "inputs.python": sys.executable,
        "github.action_path": str(ROOT),
        "inputs.token": "secret",
        "inputs.tests": values.pop("tests", ""),
        "steps.upload.outputs.artifact-url": "https://example.org/page",
        "steps.test.outputs.status": values.pop("status", ""),
    }
    given = {
        key: re.sub(r"\$\{\{ (.*?) \}\}", lambda m: known[m[1]], text) for key, text in step["env"].items()
    }
    runner = {
        "GITHUB_OUTPUT": str(project / "outputs"),
        "GITHUB_STEP_SUMMARY": str(project / "summary.md"),
        "GITHUB_EVENT_PATH": str(project / "event.json"),
        "GITHUB_REPOSITORY": "somebody/project",
        "GITHUB_API_URL": f"http://127.0.0.1:{comments.server_port}",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=project,
        env=os.environ | runner | given | values,
        capture_output=True,
        text=True,
    )


def test_the_harness_is_installed_from_the_checkout(project: Path, comments: Comments) -> None:
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    options = "--dry-run --no-deps --no-index --no-build-isolation --disable-pip-version-check"
    done = run("install", project, comments, PIP_ARGS=options)
    assert done.returncode == 0, done.stderr


def test_a_pull_request_from_broken_to_held(project: Path, comments: Comments) -> None:
    pytest.importorskip("matplotlib", reason="the page for people needs it")
    source = project / "test_stranger.py"
    source.write_text(source.read_text().replace("+ 1e-6", "+ 1e-5"))
    tested = run("test", project, comments, tests="-q -k 'side or golden'")
    assert tested.returncode == 0, tested.stderr
    assert (project / "outputs").read_text() == "status=1\n"
    assert run("verdict", project, comments, status="1").returncode == 1
    assert run("verdict", project, comments, status="0").returncode == 0
    commented = run("comment", project, comments)
    assert commented.returncode == 0, commented.stderr
    (body,) = (body for number, body in comments.bodies.items() if number > 1)
    assert body.startswith(f"{MARK}\n### parity: ❌")
    assert "outputs did not hold" in body
    assert "Worst R: **" in body
    assert "another function" in body
    assert "`test_by_golden`: " in body
    assert "https://example.org/page" in body
    assert "<html" in (project / "parity.html").read_text()
    assert body in (project / "summary.md").read_text()
    assert comments.seen[0] == (
        "GET",
        "/repos/somebody/project/issues/7/comments?per_page=100&page=1",
        "Bearer secret",
    )

    # The next run finds nothing, and writes over the comment.
    found = json.loads((project / "parity.json").read_text())
    found["cases"] = [record()]
    (project / "parity.json").write_text(json.dumps(found))
    (project / "junit.xml").write_text("<testsuites/>")
    assert run("comment", project, comments).returncode == 0
    assert comments.seen[-1][:2] == ("PATCH", "/repos/somebody/project/issues/comments/2")
    assert comments.bodies[1] == "somebody else's"
    assert comments.bodies[2].startswith(f"{MARK}\n### parity: ✅ all")
    assert len(comments.bodies) == 2


def record(**values: object) -> dict:
    return {
        "id": "test_a.py::test_a[8]#1", "output": "out", "verdict": "WITHIN", "ratio": 1.5, "max_abs": 1e-7,
        "index": [0, 1], "cause": "", "draws": 1, "relative": 0.0, **values,
    }  # fmt: skip


def test_what_a_comment_says() -> None:
    assert "⚠️ nothing was compared" in markdown([], {})
    bad = record(
        verdict="DIVERGED", ratio="inf", cause="a | b\nc", notes=["it may be stale: since then x", "other"]
    )
    text = markdown(
        [record(), bad], {"test_a[8]": "told already", "test_b": "golden is stale: recorded\nlong"}
    )
    assert "❌ 1 of 2 outputs did not hold, 1 other test failed" in text
    assert "Worst R: **1.5**" in text
    assert "| a \\| b |" in text
    assert "- `test_a[8]`: it may be stale: since then x" in text
    assert "- `test_b`: golden is stale: recorded\n" in text
    many = markdown([record(verdict="DIVERGED")] * 15, {})
    assert "… 5 more" in many


def test_a_merge_request_and_what_is_none(comments: Comments, tmp_path: Path, monkeypatch, capsys) -> None:
    from parity.__main__ import main

    for name in list(os.environ):
        if name.startswith(("GITHUB_", "CI_")):
            monkeypatch.delenv(name)
    file = tmp_path / "parity.json"
    file.write_text(json.dumps({"cases": [record()]}))
    assert main(["comment", str(file), "--post"]) == 0
    assert "not posted" in capsys.readouterr().out
    variables = {"CI_MERGE_REQUEST_IID": "3", "CI_PROJECT_ID": "9"}
    for key, value in {**variables, "CI_API_V4_URL": f"http://127.0.0.1:{comments.server_port}"}.items():
        monkeypatch.setenv(key, value)
    assert main(["comment", str(file), "--post"]) == 2
    assert "PARITY_GITLAB_TOKEN" in capsys.readouterr().err
    monkeypatch.setenv("PARITY_GITLAB_TOKEN", "t")
    for _ in range(2):
        assert main(["comment", str(file), "--post"]) == 0
    assert [method for method, _, _ in comments.seen] == ["GET", "POST", "GET", "PUT"]
    assert comments.seen[-1][1:] == ("/projects/9/merge_requests/3/notes/2", "t")
    file.write_text("{}")
    assert main(["comment", str(file)]) == 2


def test_the_gitlab_job_and_the_hook_use_what_there_is() -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((INTEGRATIONS / "gitlab.yml").read_text())["parity"]
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    plugin = (ROOT / "samblocks" / "pytest_plugin.py").read_text()
    told = "\n".join([*job["script"], hook["entry"]])
    assert set(re.findall(r"(--parity-\w+)", told)) <= set(re.findall(r'"(--parity-\w+)"', plugin))
    for line in job["script"]:
        assert subprocess.run(["bash", "-n", "-c", line]).returncode == 0
    assert comment.HELP


def test_the_gitlab_job_ends_with_the_tests_status(project: Path) -> None:
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((INTEGRATIONS / "gitlab.yml").read_text())["parity"]
    # A stand-in for pytest, since the runs above are of the same command.
    script = "\n".join(line for line in job["script"] if not line.startswith("pip "))
    (project / "bin").mkdir()
    (project / "bin" / "python").write_text("#!/bin/sh\nexit 4\n")
    (project / "bin" / "python").chmod(0o755)
    environment = {"PATH": f"{project / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=project, env=environment)
    assert done.returncode == 4
