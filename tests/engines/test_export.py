"""Exported files and their card, by the one format that torch itself runs."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from samblocks import EngineError, export
from samblocks.cli import main
from samblocks.engines import verify_script
from samblocks.engines.export import write_card
from samblocks.files import sha256

PARTS = ["object_pointer", "absent_object"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from engine_models import small_sam2

    folder = tmp_path_factory.mktemp("export") / "files"
    export(small_sam2(), folder, "exported", PARTS)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "files"))


def signed(folder: Path) -> None:
    """Write a card that owns up to the files as they are, but states the figures of before."""
    card = json.loads((folder / "card.json").read_text())
    card["files"] = {name: sha256(folder / name) for name in card["files"]}
    write_card(folder, card)


def test_the_card_says_what_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = json.loads((folder / "card.json").read_text())
    assert [graph["name"] for graph in card["graphs"]] == PARTS
    assert {"samples.npz", "verify.py", "object_pointer.pt2"} <= set(card["files"])
    assert all(row["ratio"] <= 2 and row["largest"] >= 0 for row in card["rows"])
    assert card["command"] == f"samblocks.export(model, 'files', 'exported', parts={PARTS}, precision='f32')"
    page = (folder / "card.html").read_text()
    assert card["weights"] in page
    assert card["digest"] == verify_script.digest_of(card)
    assert main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out.rstrip().endswith("it holds")
    assert main(["verify", "--json", str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["holds"]


def test_the_script_beside_it_needs_nothing_of_ours(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "verify.py"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "import samblocks" not in (folder / "verify.py").read_text()
    assert "from samblocks" not in (folder / "verify.py").read_text()


def test_a_damaged_file_or_card_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("object_pointer.pt2", "samples.npz", "verify.py"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert main(["verify", str(folder)]) == 1
        assert f"{name} is damaged" in capsys.readouterr().err
        assert main(["verify", "--json", str(folder)]) == 1
        said = json.loads(capsys.readouterr().out)
        assert (said["holds"], said["rows"], len(said["failures"])) == (False, [], 1)
        (folder / name).unlink()
        assert main(["verify", str(folder)]) == 2
        assert f"{name} is missing" in capsys.readouterr().err
        (folder / name).write_bytes(whole)
    card = (folder / "card.json").read_text()
    for changed, words in (
        (card.replace('"ratio": ', '"ratio": 1', 1), "is damaged"),
        (card[:-20], "is no JSON"),
        ("{}", "no card of samblocks"),
        ('{"format": "samblocks card 1"}', "run the verify.py that lies beside it"),
    ):
        (folder / "card.json").write_text(changed)
        assert main(["verify", str(folder)]) == 2
        assert words in capsys.readouterr().err


def test_another_function_no_longer_holds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from engine_models import small_sam2

    other = small_sam2()
    with torch.no_grad():
        other.obj_ptr_proj.weight.mul_(1 + 1e-5)
    again = folder.parent / "other"
    export(other, again, "exported", ["object_pointer"])
    shutil.copy(again / "object_pointer.pt2", folder)
    signed(folder)
    assert main(["verify", str(folder)]) == 1
    assert "object_pointer pointer (sample 0): R is" in capsys.readouterr().out


def test_what_cannot_be_exported_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine_models import small_sam2

    model = small_sam2()
    for arguments, words in (
        (("tensorrt",), "format='tensorrt' must be one of 'onnx', 'openvino', 'exported'"),
        (("exported", None, "int8"), "the format 'exported' has 'f32'"),
        (("exported", ["head"]), "parts: 'head' must be one of 'image_encoder'"),
    ):
        with pytest.raises(ValueError, match=words):
            export(model, tmp_path / "files", *arguments)
    monkeypatch.setattr(torch.export, "export", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(EngineError, match="exported cannot take obj_ptr_proj"):
        export(model, tmp_path / "files", "exported", PARTS)
    assert not list(tmp_path.iterdir())
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "mine").touch()
    with pytest.raises(EngineError, match="is there already"):
        export(model, tmp_path / "files", "exported", PARTS)


def test_the_card_has_the_command_that_repeats_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine_models import small_sam2

    monkeypatch.setattr("samblocks.load", lambda path, image_size: small_sam2())
    target = str(tmp_path / "some files")
    options = [
        "--format",
        "exported",
        "--precision",
        "f32",
        "--part",
        "object_pointer",
        "--part",
        "absent_object",
    ]
    assert main(["export", "a model.pt", "-o", target, *options]) == 0
    command = json.loads((tmp_path / "some files" / "card.json").read_text())["command"]
    assert shlex.split(command) == ["samblocks", "export", "a model.pt", "-o", target, *options]
