"""Call one function in a fresh process: a request and tensors go in, an answer and tensors come out.

For what is done once, such as having a library load a file. What is asked many times goes to a worker.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from parity.errors import WorkerError
from parity.workers.process import TIMEOUT, Process
from parity.workers.protocol import Message, requests, send


def ask(
    name: str,
    python: Path,
    module: str,
    request: Mapping[str, Any],
    tensors: Mapping[str, Tensor] | None = None,
    *,
    packages: Mapping[str, Path] | None = None,
    timeout: float = TIMEOUT,
) -> Message:
    """Run `module.respond(request, tensors)` in a fresh process.

    Args:
        name: whose answer it is, for messages.
        python: the interpreter, of the references' environment or our own.
        module: which module.
        request: what is asked; anything that JSON can hold. Paths in it must be absolute.
        tensors: tensors that go with it.
        packages: folders of packages beside `parity` that it can import.
        timeout: seconds that each step of the process's start may take.

    Returns:
        The answer and the tensors that come with it.

    Raises:
        WorkerError: the process failed; with its last words.
    """
    entry = f"{__name__}:serve"
    with Process(name, python, entry, {}, packages=packages, timeout=timeout) as process:
        header, made = process.ask({"module": module, "request": request}, tensors, about=module)
    if header["status"] != "ok":
        raise WorkerError(header["message"])
    answer: dict[str, Any] = header["answer"]
    return answer, made


def serve(incoming: BinaryIO, outgoing: BinaryIO) -> None:
    """The other side of `ask`."""
    send(outgoing, {"status": "ready"})
    for asked, tensors in requests(incoming):
        try:
            answer, made = importlib.import_module(asked["module"]).respond(asked["request"], tensors)
        except Exception as error:
            send(outgoing, {"status": "raised", "message": f"{type(error).__name__}: {error}"})
        else:
            send(outgoing, {"status": "ok", "answer": answer}, made)
