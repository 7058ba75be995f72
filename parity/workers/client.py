"""Start a reference's worker in the references' environment, and ask it to run cases."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import torch
from torch import Tensor

from parity import package
from parity.execution.case import Case
from parity.workers import boot
from parity.workers.protocol import receive, send
from parity.workers.registry import Reference
from parity.workers.reply import Reply


class WorkerError(RuntimeError):
    """A worker died, or could not be started."""


class Client:
    """One worker process; a context manager.

    Attributes:
        versions: versions of the reference's packages and of its torch.
    """

    def __init__(
        self,
        reference: Reference,
        python: Path,
        *,
        threads: int = 1,
        extra_packages: Mapping[str, Path] | None = None,
    ) -> None:
        """Start the worker.

        Args:
            reference: which one.
            python: the interpreter of the references' environment.
            threads: number of threads that the worker's torch may use.
            extra_packages: further packages, by folder, that the worker must be able to import.

        Raises:
            WorkerError: when it does not start, with its last words.
        """
        self.reference = reference
        packages = {"parity": package.FOLDER, **(extra_packages or {})}
        arguments = {"module": reference.module, "packages": list(reference.packages), "threads": threads}
        self._scratch = tempfile.TemporaryDirectory(prefix="parity-")
        self._log = Path(self._scratch.name) / "worker.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                boot.command(python, packages, "parity.workers.worker:serve", arguments),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=boot.environment(self._scratch.name, HYDRA_FULL_ERROR="1"),
            )
        try:
            hello, _ = receive(self._stdout)
        except EOFError:
            raise WorkerError(f"the {reference.name} worker did not start: {self._last_words()}") from None
        if hello["status"] != "ready":
            self.close()
            raise WorkerError(
                f"the {reference.name} worker cannot import its packages: {hello['message'].strip()}"
            )
        self.versions: dict[str, str] = hello["versions"]

    def execute(
        self,
        case: Case,
        inputs: Mapping[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        autocast: torch.dtype | None = None,
        lift: bool | str = False,
        weights: Path | None = None,
    ) -> Reply:
        """Run `case` on the reference; see `parity.execution.execute.execute`.

        Raises:
            WorkerError: when the worker dies on it.
        """
        request: dict[str, Any] = {
            "case": case.id,
            "dtype": str(dtype).removeprefix("torch."),
            "autocast": str(autocast).removeprefix("torch.") if autocast else None,
            "lift": lift,
            "weights": str(weights) if weights else None,
            "channels_last": [name for name, value in inputs.items() if _channels_last(value)],
        }
        try:
            send(self._stdin, request, inputs)
            header, outputs = receive(self._stdout)
        except (EOFError, BrokenPipeError):
            raise WorkerError(
                f"the {self.reference.name} worker died on {case.id}: {self._last_words()}"
            ) from None
        state = tuple((name, tuple(shape)) for name, shape in header.get("state", ()))
        return Reply(header["status"], header.get("message", ""), outputs, state)

    def ask(
        self, module: str, request: Mapping[str, Any], inputs: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        """Have `module.answer(request, inputs, library)` called in the worker; returns its answer.

        Raises:
            WorkerError: when the worker dies on it.
        """
        try:
            send(self._stdin, {"module": module, **request}, inputs)
            return receive(self._stdout)[0]
        except (EOFError, BrokenPipeError):
            raise WorkerError(f"the {self.reference.name} worker died: {self._last_words()}") from None

    def close(self) -> None:
        """End the worker."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def _stdin(self) -> BinaryIO:
        if self._process.stdin is None:
            raise WorkerError("the worker has no standard input")
        return self._process.stdin  # type: ignore[return-value]

    @property
    def _stdout(self) -> BinaryIO:
        if self._process.stdout is None:
            raise WorkerError("the worker has no standard output")
        return self._process.stdout  # type: ignore[return-value]

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"


def _channels_last(x: Tensor) -> bool:
    """Whether a tensor lies in memory so: kernels differ by it, and the pipe would forget it."""
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def interpreter(folder: Path | None = None) -> Path | None:
    """The references' interpreter, or None where that environment is not there.

    Looked for in `folder`, else in `$SAMBLOCKS_REFERENCES`, else in `.references` beside the packages or in the
    current folder.
    """
    named = folder or (
        Path(os.environ["SAMBLOCKS_REFERENCES"]) if os.environ.get("SAMBLOCKS_REFERENCES") else None
    )
    places = [named] if named else [package.ROOT / ".references", Path(".references")]
    for place in places:
        for relative in ("bin/python", "Scripts/python.exe"):
            if (place / relative).exists():
                return (place / relative).absolute()
    return None


def own_interpreter() -> Path:
    """This process's interpreter, for a worker that runs our own blocks (the harness's own tests)."""
    return Path(sys.executable)
