"""The command as a process of its own: how it is started, closed pipes, Ctrl-C, and what it does not import."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from download_server import noise, right, slow, write_lock

from samblocks.cli import main
from samblocks.cli.command_line import INTERRUPTED, PIPE_CLOSED
from samblocks.cli.text import table

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "samblocks"]


NO_TORCH = """
import sys
import time
for name in ("torch", "numpy", "safetensors", "huggingface_hub"):
    sys.modules[name] = None  # an import of it fails
import samblocks
from samblocks.cli import main
assert len(samblocks.VARIANTS) == 18
status = main(sys.argv[1:])
print("rich" in sys.modules)
sys.exit(status)
"""


def without_torch(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", NO_TORCH, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        *([name, "--help"] for name in ("list", "version", "lock-check", "fetch", "convert", "inspect")),
        ["version"],
        ["list"],
        ["list", "--json"],
        ["completion", "bash"],
    ],
    ids=" ".join,
)
def test_what_reads_no_checkpoint_needs_neither_torch_nor_an_installation(tmp_path, arguments):
    done = without_torch(tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "False"


def test_fetching_and_checking_need_no_torch(server, tmp_path):
    data = noise(5000, seed=6)
    server.routes["/model.pt"] = right(data)
    lock = write_lock(tmp_path / "own.lock", {"data": data, "url": server.address + "/model.pt"})
    own = {"SAMBLOCKS_LOCK": str(lock), "SAMBLOCKS_CACHE": str(tmp_path / "cache")}
    checked = without_torch(tmp_path, "lock-check", "--full", **own)
    assert (checked.returncode, checked.stdout.splitlines()[-2:]) == (0, ["1 HOLDS", "False"]), checked.stderr
    fetched = without_torch(tmp_path, "fetch", "model.pt", **own)
    assert fetched.returncode == 0, fetched.stderr
    assert Path(fetched.stdout.splitlines()[0]).read_bytes() == data
    again = without_torch(tmp_path, "fetch", "model.pt", "--offline", **own)
    assert (again.returncode, again.stdout) == (0, fetched.stdout), again.stderr


def test_a_reader_that_leaves_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, "list"], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_ctrl_c_is_one_word_and_the_download_goes_on_later(server, tmp_path):
    data = noise(400_000, seed=5)
    server.routes["/model.pt"] = slow(data, pieces=100, pause=0.1)
    lock = write_lock(tmp_path / "own.lock", {"data": data, "url": server.address + "/model.pt"})
    own = {"SAMBLOCKS_LOCK": str(lock), "SAMBLOCKS_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [*COMMAND, "fetch", "model.pt"],
        cwd=ROOT,
        env=os.environ | own,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell puts into the background ignores the signal, and so does all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not any(path.stat().st_size for path in tmp_path.rglob("*.partial")):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (INTERRUPTED, "samblocks: interrupted\n")
    assert not list((tmp_path / "cache").rglob("*.pt"))
    assert any(path.stat().st_size for path in tmp_path.rglob("*.partial"))


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (
            FileNotFoundError(2, "No such file or directory", "x.pt"),
            2,
            "x.pt: No such file or directory; check the path",
        ),
        (OSError("what happened"), 2, "what happened"),
        (ValueError("first line\nsecond line"), 2, "first line second line"),
        (TypeError("wrong type"), 2, "wrong type"),
        (MemoryError(), 2, "out of memory"),
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
    ],
)
def test_errors_are_one_sentence(monkeypatch, capsys, error, status, words):
    def fail(_):
        raise error

    monkeypatch.setattr("samblocks.cli.commands.version.run", fail)
    assert main(["version"]) == status
    assert capsys.readouterr() == ("", f"samblocks: {words}\n")


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    def fail(_):
        raise ZeroDivisionError

    monkeypatch.setattr("samblocks.cli.commands.version.run", fail)
    with pytest.raises(ZeroDivisionError):
        main(["version"])


def test_a_package_that_is_missing_is_named(monkeypatch, capsys):
    def fail(_):
        raise ModuleNotFoundError("No module named 'safetensors'", name="safetensors")

    monkeypatch.setattr("samblocks.cli.commands.version.run", fail)
    assert main(["version"]) == 2
    assert capsys.readouterr().err.startswith("samblocks: safetensors is not installed")


def test_names_that_cannot_be_shown_are_escaped():
    done = subprocess.run(
        [*COMMAND, "fetch", "größe\udcff"],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("samblocks: no checkpoint is called 'gr\\xf6\\xdfe\\udcff'")


def test_a_table_on_a_terminal_is_drawn_with_rich(monkeypatch, capsys):
    pytest.importorskip("rich")
    rows = [("a[b]", "1"), ("longer", "22")]
    table(("NAME", "MB"), rows, right=("MB",))
    plain = capsys.readouterr().out
    assert plain.splitlines() == ["NAME    MB", "a[b]     1", "longer  22"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    table(("NAME", "MB"), rows, right=("MB",))
    drawn = capsys.readouterr().out
    assert "a[b]" in drawn
    monkeypatch.setitem(sys.modules, "rich.table", None)
    table(("NAME", "MB"), rows, right=("MB",))
    assert capsys.readouterr().out == plain


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_tidily(server, tmp_path, ending):
    data = noise(500_000)
    lock = write_lock(tmp_path / "own.lock", {"data": data, "url": server.address + "/model.pt"})
    server.routes["/model.pt"] = slow(data, pieces=200, pause=0.1)
    environment = os.environ | {"SAMBLOCKS_LOCK": str(lock), "SAMBLOCKS_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(
        [*COMMAND, "fetch", "model.pt"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(ending, signal.SIG_DFL),  # what is ignored, as by nohup, stays so
    )
    with process:
        while not list((tmp_path / "cache").rglob("*.partial")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(ending)
        assert process.stderr.read() == "samblocks: interrupted\n"
    assert process.returncode == 128 + ending


def test_closed_streams_are_said_or_survived(tmp_path):
    done = subprocess.run(
        ["sh", "-c", '"$0" -m samblocks version >&-', sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "samblocks: standard output is closed, so that nothing could be said\n"
    done = subprocess.run(
        ["sh", "-c", '"$0" -m samblocks version 2>&-', sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("samblocks ")


def test_nothing_acts_on_the_terminal(tmp_path, capsys):
    name = "x\x1b[31m\u202e.pt"
    (tmp_path / name).write_bytes(b"junk")
    for arguments in (
        ["inspect", str(tmp_path / name)],
        ["\x1b[31m"],
        ["fetch", "a\x1b]0;b\x07" + "c" * 5000],
    ):
        assert main(arguments) == 2
        written = capsys.readouterr().err
        assert written.rstrip("\n").isprintable()
        assert len(written) < 2000
