"""What the tests of downloads share: a server on the loopback interface, and no way to reach any other."""

import importlib.util
import sys
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location(
    "download_server", Path(__file__).with_name("download_server.py")
)
assert spec is not None
assert spec.loader is not None
download_server = importlib.util.module_from_spec(spec)
sys.modules.setdefault("download_server", download_server)
spec.loader.exec_module(sys.modules["download_server"])


@pytest.fixture
def server(monkeypatch):
    """The server; proxies are switched off, and no pauses are made between tries."""
    from samblocks.checkpoints import web

    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_OFFLINE", "SAMBLOCKS_LOCK", "SAMBLOCKS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(web, "PAUSES", (0.01, 0.01))
    with sys.modules["download_server"].running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running
