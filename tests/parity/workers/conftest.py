"""Processes that misbehave in every way that is known."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FAR = """
import json, os, sys, time
from parity.workers.boot import LENGTHS, MAGIC, greet

def serve(incoming, outgoing, how, pids=""):
    if pids:
        open(pids, "w").write(f"{os.getpid()} {os.getppid()}")
    greet(outgoing, "ready")
    if how == "stream":
        for _ in range(2):
            greet(outgoing, "ok")
        os._exit(3)
    incoming.read(1)
    if how == "garbage":
        outgoing.write(b"and now for something completely different")
    if how == "huge":
        outgoing.write(MAGIC + LENGTHS.pack(1 << 60, 1 << 60))
    if how == "no JSON":
        outgoing.write(MAGIC + LENGTHS.pack(5, 0) + b"hello")
    if how == "no tensors":
        head = json.dumps([{"status": "ok"}, ["x"]]).encode()
        outgoing.write(MAGIC + LENGTHS.pack(len(head), 9) + head + b"!" * 9)
    if how == "no status":
        head = json.dumps([{}, []]).encode()
        outgoing.write(MAGIC + LENGTHS.pack(len(head), 0) + head)
    if how == "death":
        print("not enough memory", file=sys.stderr, flush=True)
        os._exit(9)
    if how == "half":
        outgoing.write(MAGIC + LENGTHS.pack(100, 0) + b"[")
        outgoing.flush()
        os._exit(0)
    outgoing.flush()
    time.sleep(300)
"""

Interpreter = Callable[[str], Path]


@pytest.fixture
def far(tmp_path: Path) -> dict[str, Path]:
    """The package of the other side, to be registered there."""
    folder = tmp_path / "far"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "side.py").write_text(FAR)
    return {"far": folder}


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """Makes an interpreter of a line of shell; `$PYTHON` in it is ours."""

    def make(line: str) -> Path:
        script = tmp_path / "python"
        script.write_text(f'#!/bin/sh\nPYTHON="{sys.executable}"\n{line}\n')
        script.chmod(0o755)
        return script

    return make
