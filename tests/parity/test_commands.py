"""The commands of parity: a file is a command, and whatever happens in it ends with a status and one sentence."""

import importlib
import pkgutil
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from parity import commands
from parity.__main__ import main
from parity.errors import NotInstalledError, UsageError, WorkerError
from parity.run.judging import Row
from parity.verdict.compare import Comparison, Verdict
from parity.workers.start import incomplete, start_clients
from samblocks.errors import CheckpointError

NAMES = [module.name for module in pkgutil.iter_modules(commands.__path__)]


@pytest.mark.parametrize("name", NAMES)
def test_a_command_is_a_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"parity.commands.{name}")
    command = name.replace("_", "-")
    assert module.HELP
    assert (module.__doc__ or "").startswith(f"`parity {command}")
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: parity {command}")
    assert err == ""


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert {"run", "diverge", "truth-check"} <= {name.replace("_", "-") for name in NAMES}
    assert all(f"\n    {name.replace('_', '-')}" in out for name in NAMES)


def test_without_a_command_help_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "truth-check" in err


@pytest.mark.parametrize("arguments", [["runs"], ["run", "--wrong"], ["where"], ["swap", "--host", "nobody"]])
def test_wrong_usage_is_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("parity")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["layouts", "--folder", "gone"], "--folder gone is not there: make it first"),
        (["layouts", "--folder", "file"], "--folder file is no folder"),
        (["bench", "--peers", "gone"], "--peers gone is not there"),
        (["bench", "--file", "gone", "--only", "load"], "--file gone is not there: name a file"),
        (["engines", "--peers", "file"], "--peers file is no folder"),
        (["engines", "--html", "gone/page"], "gone/page cannot be written"),
        (["sensitivity", "--variant", "mobile_sam", "--recipe", "gone/a"], "gone/a cannot be written"),
        (["diverge", "--variant", "mobile_sam", "--json", "gone/a"], "gone/a cannot be written"),
        *(([name, "--json", "gone/a"], "make its folder first") for name in ("layouts", "mutants", "swap")),
        (["comment", "."], "Is a directory, where a file is needed"),
        (["comment", "gone"], "gone: No such file or directory; check the path"),
    ],
)
def test_a_path_that_is_none_is_told_before_any_work(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (UsageError("no such\ncase"), 2, "no such case"),
        (CheckpointError("no such file"), 2, "no such file"),
        (
            FileNotFoundError(2, "No such file or directory", "x.pt"),
            2,
            "x.pt: No such file or directory; check the path",
        ),
        (WorkerError("died"), 1, "died"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    words: str,
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr("parity.commands.cases.run", fail)
    assert main(["cases"]) == status
    assert capsys.readouterr() == ("", f"parity: {words}\n")


@pytest.mark.parametrize(
    ("lacking", "named", "status"),
    [
        (NotInstalledError("it lacks its package"), [], 0),
        (NotInstalledError("it lacks its package"), ["--reference", "timm"], 3),
        (WorkerError("it did not start within 60 s"), [], 3),
    ],
)
def test_a_reference_that_is_installed_and_silent_is_no_success(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lacking: WorkerError,
    named: list[str],
    status: int,
) -> None:
    held = Row("MLPBlock/relu", "meta", "float32", "output", Comparison(Verdict.EXACT))
    monkeypatch.setattr("parity.commands.run.start_clients", lambda *_, **__: ([], {"timm": lacking}))
    monkeypatch.setattr("parity.commands.run.judge_jobs", lambda *_, **__: [held])
    assert main(["run", "--block", "MLPBlock/relu", "--no-truths", *named]) == status
    written = capsys.readouterr().out
    assert f"NOT RUN timm: {lacking}" in written
    assert ("INCOMPLETE" if status else "PASSED") in written


def test_a_silent_interpreter_is_told_from_one_that_is_not_there(tmp_path: Path) -> None:
    with ExitStack() as stack:
        assert not incomplete(start_clients(["meta"], tmp_path, stack)[1])
        python = tmp_path / "bin" / "python"
        python.parent.mkdir()
        python.write_text("#!/bin/sh\nexec sleep 300\n")
        python.chmod(0o755)
        clients, missing = start_clients(["meta"], tmp_path, stack, timeout=0.3)
    assert not clients
    assert incomplete(missing)


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise ValueError("not about usage")

    monkeypatch.setattr("parity.commands.cases.run", fail)
    with pytest.raises(ValueError, match="not about usage"):
        main(["cases"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sam_vit_b", "--out", "a.bin"], "must end in .pt, .pth, .safetensors"),
        (["sam_vit_b", "--out", "a.pt", "--layout", "x"], "invalid choice"),
        (["mobile_sam", "--out", "a.pt", "--layout", "timm"], "does not exist in timm's layout"),
        (["sam", "--out", "a.pt"], "no variant is called"),
        (["sam_vit_b", "--out", "gone/a.pt"], "not a folder"),
    ],
)
def test_synthesize_says_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["synthesize", *arguments]) == 2
    written = capsys.readouterr().err
    assert words in written
    assert written.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_on_a_device_that_is_missing_says_so_of_every_case(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["run", "--quick", "--block", "Fuser", "--device", "cuda", "--verbose"]) == 3
    out = capsys.readouterr().out
    assert f"no CUDA device: torch {torch.__version__} sees none on this machine" in out
    assert "NOT RUN" in out
    assert main(["run", "--device", "mps", "--dtype", "float64"]) == 2
    assert "an MPS device computes in float32 and less" in capsys.readouterr().err
