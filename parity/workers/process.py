"""A process that finds our packages and nothing else of this environment: started, spoken to, and ended in every case.

All that runs in the references' environment runs so: a worker that answers many requests, a process for one, and
one that sends what it finds as it goes.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, BinaryIO, Self

from torch import Tensor

from parity import package
from parity.errors import WorkerError
from parity.workers import boot
from parity.workers.protocol import Message, first, receive, send

TIMEOUT = 60.0
"""Seconds that a process may take for each step of its start: interpreter, our packages, those of the reference."""

EVERY = 30.0
"""Seconds between two notes that somebody is still waited for."""

_PATIENCE = 10.0
"""Seconds that a process may take to end by itself, or to say why it does."""

_QUIET = {
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "1",
    "YOLO_VERBOSE": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HYDRA_FULL_ERROR": "1",
    "TQDM_DISABLE": "1",
}


class Process:
    """One process; a context manager.

    Attributes:
        name: what it is called in messages.
        greeting: the header with which it said that it is ready.
    """

    def __init__(
        self,
        name: str,
        python: Path,
        entry: str,
        arguments: Mapping[str, Any],
        *,
        packages: Mapping[str, Path] | None = None,
        variables: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Start it, in a scratch folder of its own, and wait until it is ready.

        Args:
            name: what it is called in messages.
            python: its interpreter.
            entry: the function that it calls, as `module:function`, with the pipes of requests and answers and:
            arguments: by name; anything that JSON can hold. Paths in them must be absolute.
            packages: folders of packages beside `parity` that it can import.
            variables: further environment variables, such as those of a personality; an empty one is taken out.
            timeout: seconds that each step of its start may take.

        Raises:
            WorkerError: it does not start; with its last words.
        """
        self.name = name
        self._scratch = tempfile.TemporaryDirectory(prefix="parity-", ignore_cleanup_errors=True)
        self._log = Path(self._scratch.name) / "log"
        self._idle, self._gone, self._banner = Event(), "", b""
        self._heard: SimpleQueue[Message | Exception] = SimpleQueue()
        request = json.dumps([_folders(packages or {}), entry, dict(arguments)])
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [str(python), "-I", boot.__file__, request],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self._scratch.name,
                    env=_environment(self._scratch.name, variables or {}),
                    # A session of its own: Ctrl-C is for us alone to hear, and all that it starts ends with it.
                    start_new_session=True,
                )
        except OSError as error:
            self._scratch.cleanup()
            raise WorkerError(f"the {name} worker cannot be started: {error}") from None
        self._stdin: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._end = weakref.finalize(self, _end, self._process, self._idle, self._scratch)
        try:
            Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
            self.greeting = self._greeted(timeout)
        except BaseException:
            self.close()
            raise

    def ask(
        self, header: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None, *, about: str
    ) -> Message:
        """Send a request and wait for the answer.

        Args:
            header: what is asked; anything that JSON can hold.
            tensors: what goes with it.
            about: what is asked for, in a few words, for those who wait and for the error.

        Raises:
            WorkerError: the process died on it, or what it answered is no message.
        """
        self._begin()
        patience = None
        with _reported(f"{self.name}: {about}"):
            try:
                send(self._stdin, header, tensors)
            except (OSError, ValueError):  # it closed the pipe: it is about to say why, or has done so
                patience = _PATIENCE
            try:
                message = self._next(about, patience)
            except Empty:
                raise self._failed(about, EOFError()) from None
        self._idle.set()
        return message

    def stream(self, about: str) -> Iterator[dict[str, Any]]:
        """The headers that a process sends by itself, until it says that it is done.

        Raises:
            WorkerError: it died on the way, or what it sent is no message.
        """
        self._begin()
        while True:
            with _reported(f"{self.name}: {about}"):
                header, _ = self._next(about)
            if header["status"] == "done":
                self._idle.set()
                return
            yield header

    def close(self) -> None:
        """End it: by itself where nothing is asked of it, at once where it is in the middle of something."""
        self._gone = self._gone or f"the {self.name} worker was ended"
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _begin(self) -> None:
        """From here until the whole answer has come, only its end brings the process back into order."""
        if self._gone or not self._idle.is_set():
            raise WorkerError(self._gone or f"the {self.name} worker was interrupted in an earlier answer")
        self._idle.clear()

    def _listen(self, stdout: BinaryIO) -> None:
        with stdout:
            try:
                self._banner, message = first(stdout)
                self._heard.put(message)
                while True:
                    self._heard.put(receive(stdout))
            except EOFError as end:
                self._banner = next((part for part in end.args if isinstance(part, bytes)), self._banner)
                self._heard.put(end)
            except Exception as error:
                self._heard.put(error)

    def _greeted(self, timeout: float) -> dict[str, Any]:
        step = "start"
        while True:
            with _reported(f"{self.name}: its greeting"):
                try:
                    header, _ = self._next("its start", timeout)
                except Empty:
                    raise WorkerError(
                        f"the {self.name} worker did not {step} within {timeout:g} s: {self._last_words()}; "
                        f"--worker-timeout SECONDS gives it more"
                    ) from None
            if header["status"] not in ("started", "imported"):
                self._idle.set()
                return header
            step = "import our packages" if header["status"] == "started" else "import its packages"

    def _next(self, about: str, patience: float | None = None) -> Message:
        """The next message; raises Empty when there is none within `patience` seconds."""
        heard = self._heard.get(timeout=patience)
        if isinstance(heard, Exception):
            raise self._failed(about, heard)
        if not isinstance(heard[0].get("status"), str):
            raise self._failed(about, WorkerError(f"a message has no status: {str(heard[0])[:80]}"))
        return heard

    def _failed(self, about: str, cause: Exception) -> WorkerError:
        """The error that this request, and every further one, ends with."""
        if isinstance(cause, EOFError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
            self._gone = f"the {self.name} worker died on {about}: {self._last_words()}"
        else:
            self._gone = f"the {self.name} worker cannot be understood on {about}: {cause}"
        return WorkerError(self._gone)

    def _last_words(self) -> str:
        with suppress(OSError):
            lines = self._log.read_bytes()[-(1 << 16) :].decode(errors="replace").strip().splitlines()
            if lines:
                return lines[-1]
        if said := self._banner.decode(errors="replace").split():
            return f"it printed {' '.join(said)[:200]!r}"
        code = self._process.poll()
        return "it said nothing" if code is None else f"it said nothing and ended with status {code}"


def _folders(packages: Mapping[str, Path]) -> dict[str, str]:
    """What is registered: this package, and of samblocks, unless it is given, the part that we rest on ourselves."""
    folders = {"parity": package.FOLDER, **packages}
    if "samblocks" not in folders:
        folders = {"samblocks.numerics": package.ROOT / "samblocks" / "numerics", **folders}
    return {name: str(folder) for name, folder in folders.items()}


def _environment(scratch: str, more: Mapping[str, str]) -> dict[str, str]:
    """Variables that keep libraries quiet and offline, with a folder for what they insist on writing; and `more`."""
    every = {**os.environ, **_QUIET, "YOLO_CONFIG_DIR": scratch, "MPLCONFIGDIR": scratch, **more}
    return {name: value for name, value in every.items() if value or name not in more}


@contextmanager
def _reported(what: str) -> Iterator[None]:
    """Say on standard error, every now and then, what is still waited for."""
    done = Event()

    def report() -> None:
        waited = 0.0
        while not done.wait(EVERY):
            waited += EVERY
            print(f"still waiting for {what} ({waited:g} s)", file=sys.stderr, flush=True)

    Thread(target=report, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _end(
    process: "subprocess.Popen[bytes]", idle: Event, scratch: "tempfile.TemporaryDirectory[str]"
) -> None:
    try:
        if idle.is_set() and process.stdin is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                process.stdin.close()
                process.wait(_PATIENCE)
    finally:
        try:
            _kill(process)
        finally:
            scratch.cleanup()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.returncode is None:  # and so its number is still its own
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
        process.wait()
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
