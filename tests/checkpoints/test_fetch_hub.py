"""Files from a Hub: huggingface_hub downloads them, and they are compared with the lock all the same."""

import hashlib

import pytest
from download_server import REVISION, noise, page, refuse, right, write_lock

from samblocks.checkpoints.published import fetch
from samblocks.checkpoints.published.http import Unreachable
from samblocks.errors import CheckpointError

DATA = noise(200_000, seed=2)
REPOSITORY = "someone/model"
FILE = "model.safetensors"


class Setup:
    """One locked file in a repository of the server, and an empty cache."""

    def __init__(self, server, tmp_path):
        self.server = server
        self.cache = tmp_path / "cache"
        row = {"repository": REPOSITORY, "revision": REVISION, "filename": FILE, "data": DATA}
        self.lock = write_lock(tmp_path / "lock.toml", row)

    def fetch(self, **options):
        return fetch(REPOSITORY, cache_dir=self.cache, lock=self.lock, progress=False, **options)

    def fails(self, pattern, **options):
        with pytest.raises(CheckpointError, match=pattern) as caught:
            self.fetch(**options)
        assert "\n" not in str(caught.value)
        assert not list(self.cache.rglob("*.safetensors"))
        assert not [blob for blob in self.cache.rglob("blobs/*") if blob.suffix != ".incomplete"]


@pytest.fixture
def setup(server, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # huggingface_hub's pauses between its tries
    return Setup(server, tmp_path)


def test_right_file_is_fetched_once_and_then_comes_from_the_cache(setup):
    setup.server.hub(REPOSITORY, FILE, DATA)
    path = setup.fetch()
    assert path.read_bytes() == DATA
    asked = len(setup.server.log)
    assert setup.fetch() == path
    assert setup.fetch(offline=True) == path
    assert len(setup.server.log) == asked
    assert path == setup.cache / "models--someone--model" / "snapshots" / REVISION / FILE


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"more"])
def test_a_wrong_length_is_refused_and_deleted(setup, data):
    setup.server.hub(REPOSITORY, FILE, data)
    setup.fails(f"the Hub sent a wrong file: .* has {len(data)} bytes, locked are 200000; it was deleted")


def test_a_wrong_hash_is_refused_and_deleted(setup):
    setup.server.hub(REPOSITORY, FILE, noise(len(DATA)))
    setup.fails(
        "the Hub sent a wrong file: .* has sha256 [0-9a-f]{64}, locked is [0-9a-f]{64}; it was deleted"
    )


def test_wrong_bytes_under_right_headers_are_deleted(setup):
    setup.server.hub(REPOSITORY, FILE, DATA, sends=noise(len(DATA)))
    wrong = hashlib.sha256(noise(len(DATA))).hexdigest()
    setup.fails(f"the Hub sent a wrong file: .* has sha256 {wrong}, locked is .*; it was deleted")
    setup.server.hub(REPOSITORY, FILE, DATA)
    assert setup.fetch().read_bytes() == DATA


def test_a_file_whose_headers_have_no_hash_is_still_compared(setup):
    setup.server.hub(REPOSITORY, FILE, noise(len(DATA)), ETag='"0123456789012345678901234567890123456789"')
    setup.fails("the Hub sent a wrong file")


def test_a_damaged_cache_is_repaired(setup):
    setup.server.hub(REPOSITORY, FILE, DATA)
    setup.fetch().resolve().write_bytes(noise(len(DATA)))
    assert setup.fetch().read_bytes() == DATA
    setup.fetch().resolve().write_bytes(DATA[:-1])
    setup.fails("nothing is downloaded offline", offline=True)


def test_a_cut_transfer_is_resumed(setup, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    path = setup.server.hub(REPOSITORY, FILE, DATA)
    whole = setup.server.routes[path]
    facts = {"ETag": f'"{hashlib.sha256(DATA).hexdigest()}"', "X_Repo_Commit": REVISION}
    setup.server.routes[path] = [whole, right(DATA, cut=50_000, **facts), whole]
    assert setup.fetch().read_bytes() == DATA
    assert "bytes=50000-" in [asked for _, _, asked in setup.server.log]


def test_an_error_that_passes_is_tried_again(setup):
    path = setup.server.hub(REPOSITORY, FILE, DATA)
    setup.server.routes[path] = [refuse(503), refuse(500), setup.server.routes[path]]
    assert setup.fetch().read_bytes() == DATA


def test_an_error_that_stays_is_given_up(setup):
    path = setup.server.hub(REPOSITORY, FILE, DATA)
    setup.server.routes[path] = refuse(500)
    setup.fails("could not be downloaded from the Hub: status 500")


def test_no_such_file(setup):
    setup.server.hub(REPOSITORY, "another", DATA)
    setup.fails("could not be downloaded from the Hub: status 404")


def test_a_gate(setup):
    path = setup.server.hub(REPOSITORY, FILE, DATA)
    setup.server.routes[path] = refuse(401, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
    setup.fails("access was refused with status 401; a login, a token or a proxy")


def test_a_proxy_that_answers_with_a_page(setup):
    path = setup.server.hub(REPOSITORY, FILE, DATA)
    setup.server.routes[path] = page()
    setup.fails("could not be downloaded from the Hub: .*is missing the 'X-Repo-Commit' header")


def test_nobody_listens(setup):
    setup.server.server_close()
    setup.fails("could not be downloaded from the Hub: .*Connection (refused|reset)")


def test_offline_asks_nothing(setup, monkeypatch):
    setup.server.hub(REPOSITORY, FILE, DATA)
    setup.fails("file_0 is not in the Hub's cache .*, and nothing is downloaded offline", offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    setup.fails("nothing is downloaded offline")
    assert not setup.server.log


def test_a_cache_that_cannot_be_made(setup, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    setup.server.hub(REPOSITORY, FILE, DATA)
    with pytest.raises(CheckpointError, match="Hub"):
        setup.fetch()


def test_a_cache_that_may_not_be_written_is_named(setup, monkeypatch):
    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    setup.server.hub(REPOSITORY, FILE, DATA)
    monkeypatch.setattr("os.makedirs", forbidden)
    setup.fails("blobs: Permission denied; HF_HOME may name another folder")


def test_a_full_disk(setup, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    setup.server.hub(REPOSITORY, FILE, DATA)
    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    setup.fails("could not be downloaded from the Hub: the disk is full")


@pytest.mark.parametrize(("status", "reached"), [(404, True), (410, True), (401, False), (503, False)])
def test_what_is_known_of_the_file_after_a_refusal(setup, status, reached):
    path = setup.server.hub(REPOSITORY, FILE, DATA)
    setup.server.routes[path] = refuse(status)
    with pytest.raises(CheckpointError) as caught:
        setup.fetch()
    assert isinstance(caught.value, Unreachable) != reached


def test_an_endpoint_in_the_clear_is_not_asked(setup, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    setup.fails("HF_ENDPOINT must begin with https:// .*, not 'http://hub.example.org'")


def test_nothing_is_said_where_nobody_looks(setup, capfd):
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled

    before = logging.get_verbosity(), are_progress_bars_disabled()
    path = setup.server.hub(REPOSITORY, FILE, DATA)
    setup.server.routes[path] = [refuse(503), refuse(503), setup.server.routes[path]]
    setup.fetch()
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), are_progress_bars_disabled()) == before
