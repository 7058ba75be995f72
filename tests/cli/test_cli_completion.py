"""`samblocks completion SHELL`: what the scripts say, and what shells that are here make of them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from parity.__main__ import main as parity_main
from samblocks.cli import commands, main
from samblocks.cli.command_line import parser_of
from samblocks.cli.completion import SHELLS, completion_script
from samblocks.variants import VARIANTS

needs = {
    shell: pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")
    for shell in SHELLS
}

ASK = """
source ./script
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_samblocks
printf '%s\\n' "${COMPREPLY[@]}"
"""


def _script(shell: str) -> str:
    return completion_script(shell, "samblocks", parser_of("samblocks", commands))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a truck.jpg", "model.pt"):
        (tmp_path / name).touch()
    (tmp_path / "frames").mkdir()
    return tmp_path


def _bash(folder: Path, *words: str) -> list[str]:
    (folder / "script").write_text(_script("bash"))
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", "samblocks", *words], cwd=folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [line for line in done.stdout.splitlines() if line]


@needs["bash"]
def test_bash_completes(folder: Path) -> None:
    assert _bash(folder, "se") == ["segment"]
    assert _bash(folder, "lock") == ["lock-check"]
    assert _bash(folder, "--v") == ["--version"]
    assert {"segment", "track", "completion"} <= set(_bash(folder, ""))
    assert _bash(folder, "segment", "x.png", "--mu") == ["--multimask"]
    assert _bash(folder, "segment", "--format", "") == ["png", "rle", "geojson", "npz"]
    assert _bash(folder, "segment", "--format", "=", "r") == ["rle"]
    assert _bash(folder, "segment", "--format", "=") == ["png", "rle", "geojson", "npz"]
    assert _bash(folder, "segment", "a ") == ["a truck.jpg"]
    assert _bash(folder, "segment", "--everything", "a") == ["a truck.jpg"]
    assert _bash(folder, "track", "fr") == ["frames"]
    assert _bash(folder, "track", "frames", "--model", "sam2.1_hiera_t") == ["sam2.1_hiera_tiny"]
    assert _bash(folder, "track", "frames", "--model", "mo") == ["mobile_sam", "model.pt"]
    assert _bash(folder, "segment", "--point", "") == []
    assert _bash(folder, "completion", "") == list(SHELLS)
    assert _bash(folder, "fetch", "sam_vit_h") == ["sam_vit_h"]
    assert _bash(folder, "nonsense", "") == []


@needs["fish"]
def test_fish_completes(folder: Path) -> None:
    (folder / "script").write_text(_script("fish"))

    def ask(line: str) -> list[str]:
        done = subprocess.run(
            ["fish", "--no-config", "-c", f"source script; complete -C '{line}'"],
            cwd=folder,
            capture_output=True,
            text=True,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [shown.partition("\t")[0] for shown in done.stdout.splitlines()]

    assert ask("samblocks se") == ["segment"]
    assert ask("samblocks segment --mu") == ["--multimask"]
    assert ask("samblocks segment --format r") == ["rle"]
    assert set(ask("samblocks track fra --model mo")) == {"mobile_sam", "model.pt"}


@needs["zsh"]
def test_zsh_reads_its_script(folder: Path) -> None:
    (folder / "script").write_text(_script("zsh"))
    asked = "autoload -U compinit; compinit -u -D; source ./script; print $_comps[samblocks]"
    done = subprocess.run(["zsh", "-f", "-c", asked], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "_samblocks\n", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_prints_every_command_and_option(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert out == _script(shell)
    assert main(["--help"]) == 0
    listed = re.findall(r"^    (\S+)", capsys.readouterr().out, re.MULTILINE)
    assert len(listed) > 9
    for word in (*listed, *VARIANTS, "multimask", "both-ways", "geojson"):
        assert word in out
    assert parity_main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "_samblocks_parity" in out or shell == "fish"
    for word in ("run", "failures-only", "transformers"):
        assert word in out


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 2
    assert "csh" in capsys.readouterr().err
