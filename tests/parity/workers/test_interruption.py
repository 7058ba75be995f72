"""Ctrl-C and being ended from outside leave no process and no folder behind; neither does a death of our own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parity.errors import WorkerError
from parity.run.job import jobs
from parity.run.runner import run
from parity.verdict.compare import Verdict
from parity.workers.client import Client
from samblocks.cli.interruption import Interrupted, unwinding

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")

ROOT = Path(__file__).resolve().parents[3]
HANGS = """
import os, pathlib, time
from torch import nn

class MLPBlock(nn.Module):
    def __init__(self, **kwargs):
        pathlib.Path({pids!r}).write_text(str(os.getpid()))
        time.sleep(300)
"""

DIES = """
import os, sys

def MLPBlock(**kwargs):
    print("oh", file=sys.stderr)
    os._exit(7)
"""

Alive = Callable[[int], bool]


@pytest.fixture
def started(upstream: Any, tmp_path: Path, scratch: Path) -> Iterator[Callable[[], Any]]:
    """Starts `parity run` in a process group of its own, as a terminal does, and gives it when its worker hangs."""
    running: list[subprocess.Popen[str]] = []
    pids = tmp_path / "pids"

    def start() -> tuple["subprocess.Popen[str]", int]:
        command = [sys.executable, "-c", upstream.program, "run", "--block", "MLPBlock"]
        process = subprocess.Popen(
            [*command, "--references", str(upstream.folder), "--worker-timeout", "600"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=_hear,
        )
        running.append(process)
        wait_for(lambda: pids.exists() and pids.read_text() != "", process)
        return process, int(pids.read_text())

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _hear() -> None:
    """What a shell puts into the background, or nohup starts, ignores signals, and so does all that it starts."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def only_interrupted(err: str) -> bool:
    """Whether nothing is said but that, beside notes that somebody is waited for on a busy machine."""
    told = [line for line in err.splitlines() if not line.startswith("still waiting for upstream: ")]
    return told == ["parity: interrupted"]


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str] | None" = None) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        assert process is None or process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)], ids=lambda value: str(value)
)
def test_in_the_middle_of_a_case(started, upstream, tmp_path, scratch, alive: Alive, number, status):
    upstream.module.write_text(HANGS.format(pids=str(tmp_path / "pids")))
    process, worker = started()
    assert list(scratch.iterdir())
    # Ctrl-C reaches the whole group of the terminal, the others the process that they are meant for.
    send = os.killpg if number == "SIGINT" else os.kill
    send(process.pid, getattr(signal, number))
    _, err = process.communicate(timeout=120)
    assert (process.returncode, only_interrupted(err)) == (status, True), err
    assert not alive(worker)
    assert not list(scratch.iterdir())


def test_while_a_worker_starts(started, upstream, tmp_path, scratch, alive: Alive):
    upstream.python.unlink()
    upstream.python.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'pids'}; exec sleep 300\n")
    upstream.python.chmod(0o755)
    process, worker = started()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, only_interrupted(err)) == (143, True), err
    assert not alive(worker)
    assert not list(scratch.iterdir())


def test_a_worker_does_not_outlive_us(started, upstream, tmp_path, alive: Alive):
    """Nothing of ours can run after a SIGKILL: the worker itself sees that nobody waits any more."""
    upstream.module.write_text(HANGS.format(pids=str(tmp_path / "pids")))
    process, worker = started()
    process.kill()
    wait_for(lambda: not alive(worker))


def test_a_worker_that_dies_ends_no_run(upstream, scratch):
    from parity.cases import find

    upstream.module.write_text(DIES)
    subjects = [find("MLPBlock/relu"), find("CXBlock/defaults")]
    with Client(upstream.reference, upstream.python) as client:
        rows = list(run(list(jobs(subjects)), [client]))
        with pytest.raises(WorkerError, match="died on MLPBlock/relu"):
            client.execute(subjects[0], {})
    assert {(row.id, row.comparison.verdict) for row in rows} == {
        ("MLPBlock/relu", Verdict.INCOMPARABLE),
        ("CXBlock/defaults", Verdict.INCOMPARABLE),
    }
    assert all("worker died on MLPBlock/relu: oh" in row.comparison.cause for row in rows)
    assert not list(scratch.iterdir())


def test_the_first_signal_unwinds_and_the_second_waits():
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen: list[object] = []
    with unwinding():
        try:
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGTERM)
                signal.raise_signal(signal.SIGINT)
                seen.append("cleaned")
        except Interrupted as interrupt:
            seen.append(interrupt.status)
    assert seen == ["cleaned", 143]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
