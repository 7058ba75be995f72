"""Two processes at once, the lock between them, and what progress looks like."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from download_server import REVISION, noise, slow, write_lock

from samblocks.checkpoints.published import fetch, progress
from samblocks.locks import file_lock

DATA = noise(400_000, seed=3)
ROOT = Path(__file__).resolve().parents[2]
FETCH = """
import sys
from samblocks.checkpoints.published import fetch
print(fetch(sys.argv[1], cache_dir=sys.argv[2], lock=sys.argv[3]))
"""


def two_processes(name, cache, lock):
    command = [sys.executable, "-c", FETCH, name, str(cache), str(lock)]
    started = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = [process.communicate(timeout=60)[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert paths[0] == paths[1]
    return Path(paths[0])


def test_two_processes_download_a_url_once(server, tmp_path):
    server.routes["/model.pt"] = slow(DATA, pieces=20, pause=0.05)
    lock = write_lock(tmp_path / "lock.toml", {"data": DATA, "url": server.address + "/model.pt"})
    assert two_processes("model.pt", tmp_path / "cache", lock).read_bytes() == DATA
    assert len(server.log) == 1


def test_two_processes_download_from_the_hub(server, tmp_path):
    server.hub("someone/model", "model.safetensors", DATA)
    row = {"repository": "someone/model", "revision": REVISION, "filename": "model.safetensors", "data": DATA}
    lock = write_lock(tmp_path / "lock.toml", row)
    assert two_processes("someone/model", tmp_path / "cache", lock).read_bytes() == DATA
    assert [method for method, path, _ in server.log if "resolve" in path].count("GET") == 1


def test_the_lock_is_held_by_one_at_a_time(tmp_path):
    inside, most, waited = [], [], []

    def work():
        with file_lock(tmp_path / "file.lock", waiting=lambda: waited.append(1)):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
    assert len(waited) == 2


def test_a_killed_holder_leaves_no_lock(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from samblocks.locks import file_lock\n"
        "with file_lock(pathlib.Path(sys.argv[1]), waiting=print):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    path = tmp_path / "file.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    waited = []
    with file_lock(path, waiting=lambda: waited.append(1)):
        assert len(waited) <= 1


def test_no_progress_where_nobody_looks(server, tmp_path, capsys):
    server.routes["/model.pt"] = slow(DATA, pieces=2, pause=0)
    lock = write_lock(tmp_path / "lock.toml", {"data": DATA, "url": server.address + "/model.pt"})
    fetch("model.pt", cache_dir=tmp_path / "cache", lock=lock)
    assert capsys.readouterr() == ("", "")


def test_progress_goes_to_standard_error(server, tmp_path, capsys):
    server.routes["/model.pt"] = slow(DATA, pieces=2, pause=0)
    lock = write_lock(tmp_path / "lock.toml", {"data": DATA, "url": server.address + "/model.pt"})
    fetch("model.pt", cache_dir=tmp_path / "cache", lock=lock, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "model.pt" in err


def test_the_plain_bar_needs_no_rich(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setattr(progress, "STEP", 0)
    with progress.bar("model.pt", 1_000_000, True) as shown:
        for done in (250_000, 500_000, 1_000_000):
            shown(done)
    drawn = capsys.readouterr().err.split("\r")
    assert [text.partition(" of ")[0][-4:] for text in drawn[1:]] == [" 25%", " 50%", "100%"]
    assert drawn[2].startswith("model.pt [" + "#" * 15 + " " * 15 + "]")
    assert drawn[-1].endswith("\n")


def test_a_terminal_decides_when_nothing_was_asked(monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda _: False)
    assert progress.is_wanted(True)
    assert not progress.is_wanted(False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert progress.is_wanted(None)
