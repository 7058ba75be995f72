"""What these tests share: files made up for them, and a server on the loopback interface alone."""

import importlib.util
import sys
import time
from pathlib import Path

import pytest

for name in ("download_server", "synthetic", "pickle_parts", "fuzz_files"):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)


@pytest.fixture
def server(monkeypatch):
    """The server; proxies are switched off, and no pauses are made between tries."""
    from samblocks.checkpoints.published import http

    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HF_HUB_OFFLINE", "SAMBLOCKS_LOCK", "SAMBLOCKS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(http, "PAUSES", (0.01, 0.01))
    with sys.modules["download_server"].running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


@pytest.fixture
def processor_seconds():
    """Processor time of a call, the least of up to three: another process may have slowed it down."""

    def measure(call, good_enough=0.5):
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            call()
            best = min(best, time.process_time() - start)
            if best < good_enough:
                break
        return best

    return measure
