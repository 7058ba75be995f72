"""Start a reference's worker in the references' environment, and ask it to run cases."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from parity import package
from parity.errors import NotInstalledError, WorkerError
from parity.execution.case import Case
from parity.workers.process import TIMEOUT, Process
from parity.workers.registry import Reference
from parity.workers.reply import Reply


class Client:
    """One worker process; a context manager.

    Attributes:
        reference: which reference it runs.
        versions: versions of the reference's packages and of its torch.
        matmul_error: how exact matrix products are in its process.
    """

    def __init__(
        self,
        reference: Reference,
        python: Path,
        *,
        threads: int = 1,
        extra_packages: Mapping[str, Path] | None = None,
        variables: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        device: str = "cpu",
    ) -> None:
        """Start the worker.

        Args:
            reference: which one.
            python: the interpreter of the references' environment.
            threads: number of threads that the worker's torch may use.
            extra_packages: further packages, by folder, that the worker must be able to import.
            variables: further environment variables, such as those of a personality.
            timeout: seconds that each step of its start may take.
            device: where it runs cases.

        Raises:
            WorkerError: when it does not start, with its last words.
            NotInstalledError: when it lacks a package of the reference.
        """
        self.reference, self._device = reference, device
        arguments = {"module": reference.module, "packages": list(reference.packages), "threads": threads}
        self._process = Process(
            reference.name,
            python,
            "parity.workers.worker:serve",
            arguments,
            packages=extra_packages,
            variables=variables,
            timeout=timeout,
        )
        hello = self._process.greeting
        if hello["status"] != "ready":
            self.close()
            kind = WorkerError if hello["installed"] else NotInstalledError
            raise kind(f"the {reference.name} worker cannot import its packages: {hello['message']}")
        self.versions: dict[str, str] = hello["versions"]
        self.matmul_error: float = hello["matmul_error"]

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
            "device": self._device,
            "weights": str(weights.absolute()) if weights else None,
            "channels_last": [name for name, value in inputs.items() if _channels_last(value)],
        }
        header, outputs = self._process.ask(request, inputs, about=case.id)
        state = tuple((name, tuple(shape)) for name, shape in header.get("state", ()))
        return Reply(header["status"], header.get("message", ""), outputs, state, self.matmul_error)

    def ask(
        self, module: str, request: Mapping[str, Any], inputs: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        """Have `module.answer(request, inputs, library)` called in the worker; returns its answer.

        Raises:
            WorkerError: when the worker dies on it.
        """
        about = str(request.get("case", module))
        return self._process.ask({"module": module, **request}, inputs, about=about)[0]

    def close(self) -> None:
        """End the worker."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _channels_last(x: Tensor) -> bool:
    """Whether a tensor lies in memory so: kernels differ by it, and the pipe would forget it."""
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def missing_environment() -> str:
    """The sentence on references that are not installed: a checkout makes them, and an installed wheel is none."""
    inside = (package.ROOT / "Makefile").exists()
    made = "make references" if inside else "run `make references` in a checkout, and name it by --references"
    return f"the references' environment is missing: {made}"


def interpreter(
    folder: Path | None = None, *, variable: str = "SAMBLOCKS_REFERENCES", usual: str = ".references"
) -> Path | None:
    """The interpreter of the references' environment, or of another one; None where it is not there.

    Looked for in `folder`, else in the folder that an environment variable names, else under its usual name beside
    the packages or in the current folder.
    """
    named = folder or (Path(os.environ[variable]) if os.environ.get(variable) else None)
    places = [named] if named else [package.ROOT / usual, Path(usual)]
    for place in places:
        for relative in ("bin/python", "Scripts/python.exe"):
            if (place / relative).exists():
                return (place / relative).absolute()
    return None
