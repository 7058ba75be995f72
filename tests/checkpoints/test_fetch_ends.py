"""A download has an end, whatever the server does, and touches nothing but plain files of its cache."""

import hashlib
import os
import re
import time

import pytest
from download_server import noise, right, write_lock

from samblocks.checkpoints.published import fetch, http
from samblocks.checkpoints.published.deadline import MOST_INTERIM
from samblocks.errors import LONGEST, CheckpointError

DATA = noise(50_000)
PATH = "/files/model.pt"


@pytest.fixture
def fails(server, tmp_path, monkeypatch):
    """Fetch from a server that answers by raw bytes; gives the message of the error that it must end in."""
    monkeypatch.setattr(http, "TIMEOUT", 0.3)
    lock = write_lock(tmp_path / "lock.toml", {"data": DATA, "url": server.address + PATH})

    def attempt(pieces, pause=0.0):
        def answer(handler):
            handler.close_connection = True
            for piece in pieces:
                handler.wfile.write(piece)
                time.sleep(pause)

        server.routes[PATH] = answer
        start = time.monotonic()
        with pytest.raises(CheckpointError) as caught:
            fetch("model.pt", cache_dir=tmp_path / "cache", lock=lock, progress=False)
        assert time.monotonic() - start < 30
        message = str(caught.value)
        assert message.isprintable()
        assert len(message) <= LONGEST
        assert not list((tmp_path / "cache").rglob("*.pt"))
        return message

    return attempt


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"


def test_a_body_that_trickles(fails):
    pieces = [OK + b"Content-Length: 50000\r\n\r\n", *(DATA[n : n + 1] for n in range(200))]
    assert "less than 1,000 bytes a second" in fails(pieces, 0.1)


def test_chunks_whose_sizes_never_end(fails):
    pieces = [OK + b"Transfer-Encoding: chunked\r\n\r\n", *[b"0"] * 200]
    assert "less than 1,000 bytes a second" in fails(pieces, 0.1)


def test_a_head_that_never_ends(fails):
    assert "no answer within 1 s" in fails([b"HTTP/1.1 200 OK\r\nX: ", *[b"y"] * 200], 0.1)


def test_interim_answers_without_end(fails):
    assert f"more than {MOST_INTERIM} interim answers" in fails([b"HTTP/1.1 100 Continue\r\n\r\n"] * 10_000)
    assert "no answer within" in fails([b"HTTP/1.1 100 Continue\r\n\r\n"] * 8, 0.2)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000, "impossible length"),
        (b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/" + b"9" * 5000, "another part"),
        (b"HTTP/1.1 302 F\r\nLocation: http://[::1/x", "redirect|understood"),
        (b"HTTP/1.1 302 F\r\nLocation: http://a..b/x", "redirect|understood"),
        (b"HTTP/1.1 302 F\r\nLocation: file:///etc/passwd", "no web address"),
        (b"HTTP/1.1 302 F\r\nLocation: ftp://127.0.0.1/x", "no web address"),
        (b"HTTP/1.1 302 F", "without saying where"),
        (b"HTTP/1.1 404 \x1b]0;owned\x07\x1b[31m" + b"A" * 60_000, r"404 .x1b\]0;owned"),
        (b"HTTP/1.1 503 Busy\r\nRetry-After: " + b"9" * 5000, "503"),
    ],
    ids=["length", "range", "address", "host", "file", "ftp", "nowhere", "words", "wait"],
)
def test_heads_that_lie(fails, head, words):
    assert re.search(words, fails([head + b"\r\n\r\n"]))


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["model.pt", "model.pt.partial", "model.pt.lock"])
def test_what_is_no_file_of_the_cache_is_left_alone(server, tmp_path, what, name):
    lock = write_lock(tmp_path / "lock.toml", {"data": DATA, "url": server.address + PATH})
    server.routes[PATH] = right(DATA)
    place = tmp_path / "cache" / hashlib.sha256(DATA).hexdigest()[:16] / name
    place.parent.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    if what == "link":
        place.symlink_to(precious if name != "model.pt" else "/dev/null")
    elif what == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.raises(CheckpointError, match="something else than a file"):
        fetch("model.pt", cache_dir=tmp_path / "cache", lock=lock, progress=False)
    assert precious.read_bytes() == b"precious"
    assert not server.log


@pytest.mark.parametrize(
    "error", [RuntimeError("bad"), RecursionError("bad"), KeyError("bad"), UnicodeError("bad")]
)
def test_what_comes_from_below_is_one_kind_of_error(server, tmp_path, monkeypatch, error):
    lock = write_lock(tmp_path / "lock.toml", {"data": DATA, "url": server.address + PATH})

    def fails(*_, **__):
        raise error

    for below in ("samblocks.checkpoints.published.url._download", "urllib.request.OpenerDirector.open"):
        monkeypatch.setattr(below, fails)
        with pytest.raises(CheckpointError, match="bad"):
            fetch("model.pt", cache_dir=tmp_path / "cache", lock=lock, progress=False)
        monkeypatch.undo()


@pytest.mark.parametrize("raw", [b"schema=1\nx=" + b"[" * 100_000, b"schema = 1\nx = '\x1b'", b"\xff"])
def test_a_list_that_cannot_be_read(tmp_path, raw):
    (tmp_path / "own.lock").write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"own\.lock cannot be read"):
        fetch("m", lock=tmp_path / "own.lock")


def test_a_list_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "own.lock")
    with pytest.raises(CheckpointError, match="not a regular file"):
        fetch("m", lock=tmp_path / "own.lock")


def test_waiting_for_another_process_is_said_without_a_terminal(server, tmp_path, monkeypatch, capsys):
    taken = iter([False, True])
    monkeypatch.setattr("samblocks.locks.lock_at_once", lambda handle: next(taken))
    lock = write_lock(tmp_path / "lock.toml", {"data": DATA, "url": server.address + PATH})
    server.routes[PATH] = right(DATA)
    fetch("model.pt", cache_dir=tmp_path / "cache", lock=lock)
    assert capsys.readouterr().err == "another process downloads model.pt; waiting for it\n"


def test_names_in_a_list_are_printable(tmp_path):
    write_lock(tmp_path / "own.lock", {"data": DATA, "url": "https://a/model.pt", "name": "a\\u001b[31m"})
    with pytest.raises(CheckpointError, match="name must be a printable string"):
        fetch("m", lock=tmp_path / "own.lock")
