"""The commands that need no model: what they print, where, and how they end."""

import importlib
import json
import pkgutil

import pytest
from download_server import REVISION, noise, page, refuse, right, write_lock

import samblocks
from samblocks.checkpoints.published import read_lock
from samblocks.cli import commands, main

DATA = noise(50_000, seed=4)
HUB = {
    "repository": "someone/model",
    "revision": REVISION,
    "filename": "model.safetensors",
    "source": "transformers",
}


@pytest.fixture
def own(server, tmp_path, monkeypatch):
    """A list of two files on the server, and empty caches."""
    rows = [
        {"data": DATA, "url": server.address + "/model.pt"},
        {"data": DATA[:-1], "variant": "variant_0"} | HUB,
    ]
    monkeypatch.setenv("SAMBLOCKS_LOCK", str(write_lock(tmp_path / "own.lock", *rows)))
    monkeypatch.setenv("SAMBLOCKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    server.routes["/model.pt"] = right(DATA)
    server.hub("someone/model", "model.safetensors", DATA[:-1])
    return server


def ends(capsys, status, *arguments):
    """Run a command in this process; return what it printed on standard output and error."""
    assert main(arguments) == status
    return capsys.readouterr()


def fails(capsys, *arguments):
    out, err = ends(capsys, 2, *arguments)
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_a_command_is_a_file():
    found = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    assert {"convert", "fetch", "inspect", "list", "lock_check", "version"} <= set(found)
    for name in found:
        module = importlib.import_module(f"samblocks.cli.commands.{name}")
        assert module.HELP
        assert module.__doc__.startswith(f"`samblocks {name.replace('_', '-')}")


def test_help_names_every_command(capsys):
    out, _ = ends(capsys, 0, "--help")
    for name in ("convert", "fetch", "inspect", "list", "lock-check", "version"):
        assert f"\n    {name}" in out
        assert ends(capsys, 0, name, "--help").out.startswith(f"usage: samblocks {name}")


def test_without_a_command_help_is_an_error(capsys):
    out, err = ends(capsys, 2)
    assert out == ""
    assert "lock-check" in err


@pytest.mark.parametrize(
    "arguments", [["lists"], ["fetch"], ["list", "--wrong"], ["convert", "a", "b", "--to", "x"]]
)
def test_wrong_usage_is_one_sentence(capsys, arguments):
    assert fails(capsys, *arguments).startswith("samblocks")


def test_versions(capsys):
    assert ends(capsys, 0, "--version").out == f"samblocks {samblocks.__version__}\n"
    out, _ = ends(capsys, 0, "version")
    assert out.startswith(f"samblocks {samblocks.__version__}\n")
    assert "\ntorch 2." in out


def test_the_list_in_columns(capsys, monkeypatch):
    monkeypatch.delenv("SAMBLOCKS_LOCK", raising=False)
    lines = ends(capsys, 0, "list").out.splitlines()
    listed = read_lock()
    assert len(listed.entries) >= 31
    assert len(lines) == 1 + len(listed.entries) + 3 + 1 + len(listed.unlocked)
    assert lines[0].split() == ["NAME", "VARIANT", "LAYOUT", "SOURCE", "MB", "SHA256"]
    assert lines[1].split() == ["sam_vit_b", "sam_vit_b", "meta", "meta", "375.0", "ec2df6273261"]
    assert not [line for line in lines if line != line.rstrip()]


def test_the_list_as_json(capsys, own):
    data = json.loads(ends(capsys, 0, "list", "--json").out)
    assert data["schema"] == 1
    assert [row["bytes"] for row in data["checkpoints"]] == [50_000, 49_999]
    assert data["checkpoints"][1]["revision"] == REVISION
    assert data["unlocked"] == []


def test_a_list_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setenv("SAMBLOCKS_LOCK", "/nowhere/own.lock")
    assert "the list of checkpoints /nowhere/own.lock cannot be read" in fails(capsys, "list")


def test_fetch_prints_the_path_alone(capsys, own, tmp_path):
    out, err = ends(capsys, 0, "fetch", "model.pt")
    assert (tmp_path / "cache") in type(tmp_path)(out.strip()).parents
    assert err == ""
    assert ends(capsys, 0, "fetch", "model.pt", "--offline").out == out


def test_fetch_from_a_source(capsys, own, tmp_path):
    out, _ = ends(capsys, 0, "fetch", "variant_0", "--source", "transformers")
    assert out.startswith(str(tmp_path / "hub"))
    assert "source must be one of meta, transformers" in fails(capsys, "fetch", "variant_0", "--source", "x")


def test_fetch_that_fails(capsys, own):
    assert "nothing is downloaded offline" in fails(capsys, "fetch", "model.pt", "--offline")
    own.routes["/model.pt"] = refuse(404)
    assert "404 Not Found" in fails(capsys, "fetch", "model.pt")


def test_lock_check_holds(capsys, own):
    lines = ends(capsys, 0, "lock-check").out.splitlines()
    assert lines[1:] == [
        "file_0  HOLDS    the host says the locked size",
        "file_1  HOLDS    the host says the locked size and sha256",
        "2 HOLDS",
    ]


def test_lock_check_in_full(capsys, own, tmp_path):
    out, _ = ends(capsys, 0, "lock-check", "--full")
    assert out.count("downloaded: size and sha256 are the locked ones") == 2
    assert not (tmp_path / "cache").exists()
    own.routes["/model.pt"] = right(noise(len(DATA)))
    assert (
        "file_0  HOLDS" in ends(capsys, 0, "lock-check").out
    )  # of such a host the size is all that is known
    out, _ = ends(capsys, 1, "lock-check", "--full", "file_0")
    assert "DIFFERS" in out
    assert "sent a wrong file" in out


def test_lock_check_differs(capsys, own):
    own.routes["/model.pt"] = right(DATA[:-1])
    out, _ = ends(capsys, 1, "lock-check")
    assert "file_0  DIFFERS  the host has 49999 bytes, locked are 50000" in out
    own.routes["/model.pt"] = refuse(404)
    own.hub("someone/model", "model.safetensors", noise(len(DATA) - 1))
    findings = json.loads(ends(capsys, 1, "lock-check", "--json").out)["findings"]
    assert [finding["verdict"] for finding in findings] == ["DIFFERS", "DIFFERS"]
    assert "answered 404" in findings[0]["detail"]
    assert "the host has sha256" in findings[1]["detail"]


def test_lock_check_that_reaches_nobody_says_so(capsys, own):
    own.routes["/model.pt"] = page()
    out, _ = ends(capsys, 0, "lock-check")  # one of the two was checked
    assert "file_0  NOT REACHED  127.0.0.1" in out
    ends(capsys, 3, "lock-check", "model.pt")
    ends(capsys, 3, "lock-check", "--source", "meta")
    own.routes[f"/someone/model/resolve/{REVISION}/model.safetensors"] = refuse(503)
    out, _ = ends(capsys, 3, "lock-check")
    assert out.endswith("2 NOT REACHED\n")


def test_lock_check_asks_a_silent_host_once(capsys, own, tmp_path):
    rows = [{"data": DATA, "url": f"{own.address}/{name}.pt"} for name in "ab"]
    write_lock(tmp_path / "own.lock", *rows)
    own.routes["/a.pt"] = refuse(503)
    out, _ = ends(capsys, 3, "lock-check")
    assert "could not be reached a moment ago" in out
    assert {path for _, path, _ in own.log} == {"/a.pt"}


def test_lock_check_of_nothing(capsys, own):
    assert "no such file is listed from source 'x'" in fails(capsys, "lock-check", "--source", "x")
    assert "takes no names" in fails(capsys, "lock-check", "--unlocked", "model.pt")


def test_lock_check_looks_up_what_is_not_known(capsys, own, tmp_path):
    fields = 'variant = "v"\nlayout = "meta"\nsource = "meta"\nlicence = "?"\nnote = "made by a test"\n'
    places = [
        f'name = "a"\nurl = "{own.address}/model.pt"\nmissing = ["bytes", "sha256"]\n',
        'name = "b"\nrepository = "someone/model"\nfilename = "model.safetensors"\n'
        'missing = ["revision", "bytes", "sha256"]\n',
        'name = "c"\nmissing = ["url", "bytes", "sha256"]\n',
    ]
    rows = "".join(f"[[unlocked]]\n{fields}{place}" for place in places)
    (tmp_path / "own.lock").write_text(f"schema = 1\n{rows}")
    own.routes["/someone/model/resolve/main/model.safetensors"] = own.routes[
        f"/someone/model/resolve/{REVISION}/model.safetensors"
    ]
    lines = ends(capsys, 0, "lock-check", "--unlocked").out.splitlines()
    assert lines[1] == "a     FOUND        bytes = 50000"
    assert lines[2].startswith(f'b     FOUND        revision = "{REVISION}", bytes = 49999, sha256 = "')
    assert lines[3] == "c     NOT REACHED  no place is known"
