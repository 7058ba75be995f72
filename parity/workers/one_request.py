"""Call one function in the references' environment: a request and tensors go in, an answer and tensors come out.

For what is done once, such as having a library load a file. What is asked many times goes to a worker.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from parity import package
from parity.workers import boot
from parity.workers.client import WorkerError


def ask(
    python: Path, module: str, request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Run `module.respond(request, tensors)` in a fresh process.

    Args:
        python: the interpreter of the references' environment.
        module: which module, of `parity.references`.
        request: what is asked; anything that JSON can hold.
        tensors: tensors that go with it.

    Returns:
        The answer and the tensors that come with it.

    Raises:
        WorkerError: the process failed; with its last words.
    """
    with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
        place = Path(scratch)
        (place / "request.json").write_text(json.dumps(request), encoding="utf-8")
        safetensors.torch.save_file(dict(tensors), place / "in.safetensors")
        done = subprocess.run(
            boot.command(
                python,
                {"parity": package.FOLDER},
                "parity.workers.one_request:answer",
                {"module": module, "scratch": scratch},
            ),
            env=boot.environment(scratch),
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not (place / "answer.json").exists():
            words = done.stderr.strip().splitlines()
            raise WorkerError(words[-1] if words else f"{module} ended with status {done.returncode}")
        answered: dict[str, Any] = json.loads((place / "answer.json").read_text(encoding="utf-8"))
        return answered, safetensors.torch.load((place / "out.safetensors").read_bytes())


def answer(module: str, scratch: str) -> None:
    """The other side of `ask`: runs in the references' environment."""
    import importlib

    place = Path(scratch)
    request = json.loads((place / "request.json").read_text(encoding="utf-8"))
    tensors = safetensors.torch.load_file(place / "in.safetensors")
    answered, made = importlib.import_module(module).respond(request, tensors)
    safetensors.torch.save_file(
        {name: value.contiguous().clone() for name, value in made.items()}, place / "out.safetensors"
    )
    (place / "answer.json").write_text(json.dumps(answered), encoding="utf-8")
