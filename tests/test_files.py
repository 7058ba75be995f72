"""Files are whole or not there, whatever goes wrong on the way."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from samblocks import locks, unfinished
from samblocks.files import write_atomically, write_text

ROOT = Path(__file__).parents[1]


def test_a_new_file_and_nothing_else(tmp_path):
    with write_atomically(tmp_path / "file") as stream:
        stream.write(b"half")
        assert not {file.name for file in tmp_path.iterdir()} & {"file"}
        stream.write(b" whole")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"file": b"half whole"}


def test_what_is_written_can_be_read_and_sought(tmp_path):
    with write_atomically(tmp_path / "file") as stream:
        stream.write(b"abc")
        stream.seek(1)
        assert stream.read() == b"bc"
        stream.seek(0)
        stream.write(b"A")
    assert (tmp_path / "file").read_bytes() == b"Abc"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("earlier", [None, b"earlier"])
def test_any_exception_leaves_what_was_there(tmp_path, error, earlier):
    path = tmp_path / "file"
    if earlier is not None:
        path.write_bytes(earlier)

    def fails():
        with write_atomically(path) as stream:
            stream.write(b"new")
            raise error

    with pytest.raises(error):
        fails()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if earlier is None else [earlier])


@pytest.mark.parametrize("step", ["fsync", "fchmod"])
def test_a_failure_of_the_disk_leaves_what_was_there(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_bytes(b"earlier")

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"samblocks.files.os.{step}", fails)
    with pytest.raises(OSError, match="No space left"), write_atomically(path) as stream:
        stream.write(b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"earlier"]


def test_file_and_folder_reach_the_disk_in_this_order(tmp_path, monkeypatch):
    seen = []
    real = os.fsync

    def fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append(("folder" if is_folder else "file", (tmp_path / "file").exists()))
        real(descriptor)

    monkeypatch.setattr("samblocks.files.os.fsync", fsync)
    write_text(tmp_path / "file", "text")
    assert seen == [("file", False), ("folder", True)]


def test_who_has_the_earlier_file_open_keeps_its_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"earlier")
    with path.open("rb") as opened:
        write_text(path, "new")
        assert opened.read() == b"earlier"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o027, 0o077])
def test_permissions_are_those_of_open(tmp_path, mask):
    code = (
        "import os, sys\n"
        "from samblocks.files import write_text\n"
        f"os.umask({mask})\n"
        "folder = sys.argv[1]\n"
        "write_text(f'{folder}/ours', '')\n"
        "open(f'{folder}/theirs', 'w').close()\n"
        "assert os.umask(0) == " + str(mask)
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o777])
def test_permissions_of_an_earlier_file_stay_and_are_never_exceeded(tmp_path, mode):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    with write_atomically(path) as stream:
        assert not stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & ~mode
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_mask_of_the_process_is_never_touched(tmp_path, monkeypatch):
    def touched(_):
        raise AssertionError("another thread's files would get this mask")

    monkeypatch.setattr("samblocks.files.os.umask", touched)
    write_text(tmp_path / "file", "text")


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "n" * 251 + ".pt", "名" * 85])
def test_names_as_long_as_names_may_be(tmp_path, name):
    write_text(tmp_path / name, "text")
    write_text(tmp_path / name, "new")
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "new"


def test_a_name_that_is_too_long_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(OSError, match="too long"), write_atomically(tmp_path / ("n" * 256)):
        raise AssertionError("nothing is to be written")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"its folder does not exist; make it first: .*file"):
        write_text(tmp_path / "a" / "b" / "file", "text")
    assert not list(tmp_path.iterdir())
    write_text(tmp_path / "a" / "b" / "file", "text", make_folder=True)
    assert (tmp_path / "a" / "b" / "file").read_text() == "text"


def test_a_folder_in_its_place(tmp_path):
    with pytest.raises(IsADirectoryError), write_atomically(tmp_path):
        raise AssertionError("nothing is to be written")
    assert tmp_path.is_dir()


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere/real")  # which need not exist
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "real").read_text() == "new"
    assert len(list(tmp_path.rglob("*"))) == 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_written_into(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "through")
    reader.join()
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text("file", "é")
    assert (tmp_path / "file").read_bytes() == "é".encode()


def test_writers_at_the_same_time_never_mix(tmp_path):
    path = tmp_path / "file"
    texts = [str(number) * 20_000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


SLOW = """
import os, sys, time
from samblocks import unfinished
if sys.argv[2] == "hidden":
    unfinished._UNNAMED = 0
from samblocks.files import write_atomically
with write_atomically(sys.argv[1]) as stream:
    stream.write(b"half" * 100_000)
    stream.flush()
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("kind", ["unnamed", "hidden"])
def test_a_writer_that_is_killed_leaves_nothing_for_long(tmp_path, kind, ending):
    path = tmp_path / "file"
    path.write_bytes(b"earlier")
    command = [sys.executable, "-c", SLOW, str(path), kind]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        write_text(tmp_path / "other", "")  # of a writer that lives, nothing is taken away
        during = sorted(file.name for file in tmp_path.iterdir() if file.name not in ("file", "other"))
        assert len(during) == (kind == "hidden" or not unfinished._UNNAMED)
        process.send_signal(getattr(signal, ending))
        process.wait()
    if kind == "unnamed" and unfinished._UNNAMED:
        assert {file.name for file in tmp_path.iterdir()} == {"file", "other"}
    assert path.read_bytes() == b"earlier"
    write_text(tmp_path / "another", "")
    assert {file.name for file in tmp_path.iterdir()} == {"file", "other", "another"}


@pytest.mark.parametrize("earlier", [None, b"earlier"])
def test_without_unnamed_files_it_is_the_same(tmp_path, monkeypatch, earlier):
    monkeypatch.setattr(unfinished, "_UNNAMED", 0)
    path = tmp_path / ("n" * 251 + ".pt")
    if earlier:
        path.write_bytes(earlier)

    def fails():
        with write_atomically(path) as stream:
            stream.write(b"half")
            assert len(list(tmp_path.iterdir())) == (2 if earlier else 1)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([earlier] if earlier else [])
    write_text(path, "new")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]


def test_only_what_was_left_behind_is_swept_up(tmp_path):
    left = tmp_path / f".a.pt.{'0' * 16}.samblocks"
    names = [".a.samblocks", ".a.pt.0123.samblocks", "a.pt", f".link.{'1' * 16}.samblocks"]
    for name in names[:-1]:
        (tmp_path / name).touch()
    (tmp_path / names[-1]).symlink_to("a.pt")
    left.touch()
    write_text(tmp_path / "b", "")
    assert {file.name for file in tmp_path.iterdir()} == {*names, "b"}


@pytest.mark.skipif(sys.platform == "win32", reason="the system says it in another way there")
@pytest.mark.parametrize(
    ("said", "answer"), [(errno.EWOULDBLOCK, False), (errno.ENOLCK, None), (errno.EOPNOTSUPP, None)]
)
def test_without_locks_nobody_waits_and_nothing_is_swept_up(tmp_path, monkeypatch, said, answer):
    def refuses(descriptor, operation):
        raise OSError(said, os.strerror(said))

    monkeypatch.setattr("samblocks.locks.fcntl.flock", refuses)
    pauses: list[float] = []

    def stop(seconds):
        pauses.append(seconds)
        raise TimeoutError

    monkeypatch.setattr("samblocks.locks.time.sleep", stop)
    left = tmp_path / f".a.pt.{'0' * 16}.samblocks"
    left.touch()
    with open(left) as stream:
        assert locks.lock_at_once(stream.fileno()) is answer
    write_text(tmp_path / "b", "written")
    assert left.exists()  # it may be somebody's who writes just now
    assert (tmp_path / "b").read_text() == "written"
    waited: list[int] = []
    try:
        with locks.file_lock(tmp_path / "lock", waiting=lambda: waited.append(1)):
            assert answer is None
    except TimeoutError:
        assert answer is False
    assert bool(waited) is bool(pauses) is (answer is False)
