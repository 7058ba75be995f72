"""The commands of parity: a file is a command, and whatever happens in it ends with a status and one sentence."""

import importlib
import pkgutil
from pathlib import Path

import pytest

from parity import commands
from parity.__main__ import main
from parity.errors import UsageError, WorkerError
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
    ("error", "status", "words"),
    [
        (UsageError("no such\ncase"), 2, "no such case"),
        (CheckpointError("no such file"), 2, "no such file"),
        (FileNotFoundError(2, "No such file or directory", "x.pt"), 2, "x.pt: No such file or directory"),
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
