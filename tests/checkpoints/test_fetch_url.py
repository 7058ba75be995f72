"""Files from a plain web server: only the right bytes ever get a name in the cache."""

import errno
import hashlib
import re
import shutil
import urllib.request

import pytest
from download_server import lead, noise, page, refuse, right, slow, unmeasured, write_lock

from samblocks.checkpoints.published import fetch, http, url
from samblocks.errors import CheckpointError

DATA = noise(300_000)
PATH = "/files/model.pt"


class Setup:
    """One locked file at PATH of the server, and an empty cache."""

    def __init__(self, server, tmp_path):
        self.server = server
        self.cache = tmp_path / "cache"
        self.lock = write_lock(tmp_path / "lock.toml", {"data": DATA, "url": server.address + PATH})

    def fetch(self, **options):
        return fetch("model.pt", cache_dir=self.cache, lock=self.lock, progress=False, **options)

    def fails(self, pattern, **options):
        with pytest.raises(CheckpointError, match=pattern) as caught:
            self.fetch(**options)
        assert "\n" not in str(caught.value)
        assert not list(self.cache.rglob("*.pt"))

    @property
    def target(self):
        return self.cache / hashlib.sha256(DATA).hexdigest()[:16] / "model.pt"

    @property
    def partial(self):
        return self.target.with_name("model.pt.partial")

    def keep(self, data):
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        self.partial.write_bytes(data)

    @property
    def ranges(self):
        return [asked for _, _, asked in self.server.log]


@pytest.fixture
def setup(server, tmp_path):
    return Setup(server, tmp_path)


def test_right_file_is_fetched_once_and_then_comes_from_the_cache(setup):
    setup.server.routes[PATH] = right(DATA)
    path = setup.fetch()
    assert path == setup.target
    assert path.read_bytes() == DATA
    assert not setup.partial.exists()
    assert setup.fetch() == path
    assert setup.fetch(offline=True) == path
    assert len(setup.server.log) == 1


def test_redirects_are_followed(setup):
    setup.server.routes[PATH] = lead("/elsewhere")
    setup.server.routes["/elsewhere"] = right(DATA)
    assert setup.fetch().read_bytes() == DATA


def test_endless_redirects_end(setup):
    setup.server.routes[PATH] = lead(PATH)
    setup.fails("redirects http://.* without end")


def test_no_redirect_from_https_to_http():
    request = urllib.request.Request("https://example.org/model.pt")
    with pytest.raises(CheckpointError, match="redirects from https to http://example"):
        http.SecureRedirects().redirect_request(request, None, 302, "Found", {}, "http://example.org/x")


def test_a_cut_transfer_goes_on_where_it_stopped(setup):
    setup.server.routes[PATH] = [right(DATA, cut=100_000), right(DATA, cut=50_000), right(DATA)]
    assert setup.fetch().read_bytes() == DATA
    assert setup.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_headway_renews_the_tries(setup):
    setup.server.routes[PATH] = right(DATA, cut=40_000)
    assert setup.fetch().read_bytes() == DATA
    assert len(setup.server.log) == 8


def test_a_host_that_always_cuts_at_the_same_byte_is_given_up(setup):
    setup.server.routes[PATH] = right(DATA, ranges=False, cut=100_000)
    setup.fails(r"could not be downloaded after 3 tries: .*100000 of 300000 bytes are saved")
    assert len(setup.server.log) == 3
    setup.server.routes[PATH] = right(DATA)
    assert setup.fetch().read_bytes() == DATA
    assert setup.ranges[-1] == "bytes=100000-"


def test_an_earlier_run_is_resumed(setup):
    setup.keep(DATA[:1234])
    setup.server.routes[PATH] = right(DATA)
    assert setup.fetch().read_bytes() == DATA
    assert setup.ranges == ["bytes=1234-"]


def test_a_host_without_ranges_begins_anew(setup):
    setup.keep(DATA[:1234])
    setup.server.routes[PATH] = right(DATA, ranges=False)
    assert setup.fetch().read_bytes() == DATA


def test_a_damaged_beginning_is_noticed_and_fetched_again(setup):
    setup.keep(b"x" * 1234)
    setup.server.routes[PATH] = right(DATA)
    assert setup.fetch().read_bytes() == DATA
    assert setup.ranges == ["bytes=1234-", None]


@pytest.mark.parametrize("size", [300_000, 300_001])
def test_a_wrong_partial_of_full_length_is_fetched_again(setup, size):
    setup.keep(b"x" * size)
    setup.server.routes[PATH] = right(DATA)
    assert setup.fetch().read_bytes() == DATA
    assert setup.ranges == [None]


def test_a_complete_partial_only_needs_its_name(setup):
    setup.keep(DATA)
    assert setup.fetch().read_bytes() == DATA
    assert not setup.server.log


def test_a_refused_range_begins_anew(setup):
    setup.keep(DATA[:1234])
    setup.server.routes[PATH] = [refuse(416), right(DATA)]
    assert setup.fetch().read_bytes() == DATA
    assert setup.ranges == ["bytes=1234-", None]


def test_another_part_than_asked_for_is_refused(setup):
    setup.keep(DATA[:1234])
    setup.server.routes[PATH] = right(DATA, Content_Range="bytes 5-299999/300000")
    setup.fails("another part")


def test_wrong_bytes_of_the_right_length_are_deleted(setup):
    setup.server.routes[PATH] = right(noise(len(DATA), seed=1))
    wrong = hashlib.sha256(noise(len(DATA), seed=1)).hexdigest()
    setup.fails(f"has sha256 {wrong}, locked is {hashlib.sha256(DATA).hexdigest()}; it was deleted")
    assert not setup.partial.exists()


@pytest.mark.parametrize("size", [299_999, 300_001])
def test_a_wrong_length_is_noticed_before_anything_is_written(setup, size):
    setup.server.routes[PATH] = right(noise(size))
    setup.fails(f"has {size} bytes, locked are 300000")
    assert not setup.partial.exists()


def test_a_wrong_total_is_noticed_when_resuming(setup):
    setup.keep(DATA[:1234])
    setup.server.routes[PATH] = right(DATA + b"more")
    setup.fails("has 300004 bytes, locked are 300000")


def test_length_not_told(setup):
    setup.server.routes[PATH] = unmeasured(DATA)
    assert setup.fetch().read_bytes() == DATA


def test_more_than_locked_is_not_taken_when_the_length_is_not_told(setup):
    setup.server.routes[PATH] = unmeasured(DATA + b"more")
    setup.fails("has more than 300000 bytes")
    assert setup.partial.stat().st_size == 0


@pytest.mark.parametrize(
    "answer",
    [
        page(),
        page(content_type="text/html; charset=utf-8"),
        page("<html>".ljust(len(DATA))),
        page("\n <!DOCTYPE HTML>".ljust(len(DATA)), content_type="application/octet-stream"),
        unmeasured(b"<html>Please log in</html>"),
    ],
)
def test_a_web_page_is_called_one(setup, answer):
    setup.server.routes[PATH] = answer
    setup.fails("answered with a web page instead of model.pt: a proxy or a login page")
    assert not setup.partial.exists() or setup.partial.stat().st_size == 0


def test_a_login_page_behind_a_redirect_is_named(setup):
    setup.server.routes[PATH] = lead("/login")
    setup.server.routes["/login"] = page()
    setup.fails(r"after leading to http://127.0.0.1:\d+/login")


def test_an_encoding_nobody_asked_for(setup):
    setup.server.routes[PATH] = right(DATA, Content_Encoding="gzip")
    setup.fails("in the encoding gzip")


def test_a_slow_host_is_waited_for(setup):
    setup.server.routes[PATH] = slow(DATA, pieces=10, pause=0.02)
    assert setup.fetch().read_bytes() == DATA


def test_a_host_that_falls_silent_is_not_waited_for_without_end(setup, monkeypatch):
    monkeypatch.setattr(http, "TIMEOUT", 0.3)
    setup.server.routes[PATH] = [slow(DATA, pieces=2, pause=0.8), right(DATA)]
    assert setup.fetch().read_bytes() == DATA
    assert len(setup.server.log) == 2


def test_an_error_that_passes_is_tried_again(setup):
    setup.server.routes[PATH] = [refuse(500), refuse(503, Retry_After=0), right(DATA)]
    assert setup.fetch().read_bytes() == DATA


def test_the_wait_a_host_asks_for_is_kept_but_bounded(setup, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("samblocks.checkpoints.published.http.time.sleep", waits.append)
    setup.server.routes[PATH] = [refuse(429, Retry_After=7), refuse(503, Retry_After=9999), right(DATA)]
    setup.fetch()
    assert waits == [7.0, http.LONGEST_WAIT]


def test_an_error_that_stays_is_given_up(setup):
    setup.server.routes[PATH] = refuse(500)
    setup.fails(r"after 3 tries: 127.0.0.1:\d+ answered 500 Internal Server Error")
    assert len(setup.server.log) == 3


@pytest.mark.parametrize(
    ("status", "words"), [(404, "404 Not Found"), (403, "proxy or a login"), (407, "proxy")]
)
def test_a_refusal_is_final(setup, status, words):
    setup.server.routes[PATH] = refuse(status)
    setup.fails(words)
    assert len(setup.server.log) == 1


def test_nobody_listens(setup, tmp_path):
    setup.server.server_close()
    setup.fails("cannot be reached: Connection refused")


def test_offline_asks_nothing(setup, monkeypatch):
    setup.fails("file_0 is not in the cache .*nothing is downloaded offline", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    setup.fails("nothing is downloaded offline")
    assert not setup.server.log
    assert not setup.cache.exists()


def test_a_damaged_cache_is_repaired(setup):
    setup.server.routes[PATH] = right(DATA)
    setup.fetch().write_bytes(b"x" * len(DATA))
    assert setup.fetch().read_bytes() == DATA
    setup.target.write_bytes(DATA[:-1])
    setup.fails("nothing is downloaded offline", offline=True)


def test_a_full_disk_is_noticed_before_the_download(setup, monkeypatch):
    usage = shutil._ntuple_diskusage(1, 1, 99_999)
    monkeypatch.setattr("samblocks.checkpoints.published.url.shutil.disk_usage", lambda _: usage)
    setup.server.routes[PATH] = right(DATA)
    setup.fails("the disk is full: .* has 0.1 MB free and the download needs 0.3 MB")


def test_a_disk_that_fills_up_on_the_way(setup, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file, self.left = file, 100_000

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, view):
            if not self.left:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = self.file.write(view[: self.left])
            self.left -= written
            return written

    real = url._open
    monkeypatch.setattr(url, "_open", lambda *args: Full(real(*args)))
    setup.server.routes[PATH] = right(DATA)
    setup.fails("the disk is full: .*partial cannot grow .No space left on device")
    monkeypatch.setattr(url, "_open", real)
    assert setup.fetch().read_bytes() == DATA
    assert setup.ranges[-1] == "bytes=100000-"


def test_a_cache_that_cannot_be_made(setup, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(
        CheckpointError, match=r"the cache .* cannot be used: .*SAMBLOCKS_CACHE may name another"
    ):
        setup.fetch()


def test_a_copy_elsewhere_is_offered(server, tmp_path):
    server.routes[PATH] = refuse(404)
    copy = {"repository": "someone/else", "revision": "a" * 40, "filename": "model.pt", "source": "hub"}
    rows = [{"data": DATA, "url": server.address + PATH}, {"data": DATA, "variant": "variant_0"} | copy]
    lock = write_lock(tmp_path / "lock.toml", *rows)
    with pytest.raises(CheckpointError, match=re.escape("(the same bytes: source 'hub' at someone/else@")):
        fetch("model.pt", cache_dir=tmp_path / "cache", lock=lock)


def test_folders_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("SAMBLOCKS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert url.default_cache() == tmp_path / "samblocks"
    monkeypatch.setenv("SAMBLOCKS_CACHE", str(tmp_path / "own"))
    assert url.default_cache() == tmp_path / "own"
    monkeypatch.delenv("SAMBLOCKS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert url.default_cache() == tmp_path / ".cache" / "samblocks"


def test_a_proxy_that_wants_a_login_is_named(setup, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", setup.server.address)
    setup.server.routes[setup.server.address + PATH] = (
        page()
    )  # what a proxy is asked for is the whole address
    setup.fails("answered with a web page instead of model.pt: a proxy or a login page")
    assert setup.server.log == [("GET", setup.server.address + PATH, None)]


def test_a_cache_that_may_not_be_written(setup, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.mkdir", forbidden)
    setup.fails("the cache .* cannot be used: Permission denied; SAMBLOCKS_CACHE may name another")
