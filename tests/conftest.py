"""Rules of the house for every test: one thread, no network beyond this machine, no default weights."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import parity
from parity.execution import personalities

pytest_plugins = ["pytester"]

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Tests run side by side in processes; more threads in each only get in one another's way.
    torch.set_num_threads(personalities.threads(1))


@pytest.fixture(scope="session")
def _everything_is_imported() -> None:
    # A session inside this process forgets what it imported; parts of torch cannot be imported twice.
    assert parity.check(torch.square, torch.square, torch.ones(2), gradients=True)


@pytest.fixture
def pytester(_everything_is_imported: None, pytester: pytest.Pytester) -> pytest.Pytester:
    """pytest's own, set up after all that it would forget."""
    return pytester


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(_LOOPBACK):
            raise AssertionError(f"a test tried to reach {address}: tests use this machine alone")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _flags_stay_as_they_are() -> Iterator[None]:
    """No test, and nothing that a test calls, may leave a process-wide switch of torch changed."""

    def flags() -> tuple[object, ...]:
        return (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
        )

    before = flags()
    yield
    assert flags() == before
