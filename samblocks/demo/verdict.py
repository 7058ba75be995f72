"""Whether the loaded weights give upstream's numbers: `parity run`, in a process of its own, and what it said."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

_SAID: Final = {0: "PASSED", 1: "FAILED", 3: "NOT RUN"}
"""By exit status; others are an error of the command."""
_PART: Final = "INCOMPLETE"
"""What parity's last line begins with where some references ran and others should have."""
_REASON: Final = re.compile(r"NOT RUN +(?P<name>[\w-]+): (?P<why>.+)")
"""A line of parity about a reference that did not run."""


class Upstream:
    """A run of parity on the stages of one checkpoint, against every reference that is installed.

    Args:
        checkpoint: the file or the name of the weights; empty if they are of neither.
    """

    def __init__(self, checkpoint: str) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._said = ""
        self._began = time.monotonic()
        self._asking = threading.Lock()  # the page answers several tabs at a time
        if not checkpoint:
            self._said = "NOT RUN: the weights are of no file"
        elif find_spec("parity") is None:
            self._said = "NOT RUN: parity is not installed here"
        else:
            self._output = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - open as long as the run
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "parity",
                    "run",
                    "--stages-only",
                    "--no-truths",
                    "--checkpoint",
                    checkpoint,
                ],
                stdout=self._output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
            )

    @property
    def running(self) -> bool:
        """Whether the verdict is still to come."""
        return self._process is not None and self._process.poll() is None

    def verdict(self) -> str:
        """What is known by now: RUNNING, or PASSED, FAILED, INCOMPLETE or NOT RUN in parity's last words."""
        if self.running:
            seconds = int(time.monotonic() - self._began)
            return (
                f"RUNNING for {seconds} s: every stage of these weights beside the upstream packages, judged by "
                "float64; it may take minutes"
            )
        with self._asking:
            if self._process is not None and not self._said:
                self._said = self._last_words(self._process.returncode)
        return self._said

    def wait(self) -> None:
        """Until the verdict is there."""
        if self._process is not None:
            self._process.wait()
            self.verdict()

    def stop(self) -> None:
        """End the run, if it is still going."""
        if self._process is not None and self.running:
            self._process.terminate()
        self.wait()

    def _last_words(self, status: int) -> str:
        with self._output as output:
            output.seek(0)
            lines = [line.strip() for line in output.read().splitlines() if line.strip()]
        said = lines[-1] if lines else f"parity ended with status {status} and no word"
        missing = _missing(lines)
        if said.startswith(_PART):
            return f"{said}; not run: {missing}"
        verdict = _SAID.get(status, "NOT RUN")
        if verdict == "NOT RUN" and missing:
            return f"{verdict}: {missing}"
        return said if said.startswith(verdict) else f"{verdict}: {said}"


def _missing(lines: Sequence[str]) -> str:
    """Why references did not run, each reason once, with their names."""
    names: dict[str, list[str]] = {}
    for found in filter(None, map(_REASON.fullmatch, lines)):
        names.setdefault(found["why"], []).append(found["name"])
    return "; ".join(f"{why} ({', '.join(those)})" for why, those in names.items())
