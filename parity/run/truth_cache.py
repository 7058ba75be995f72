"""Truths are slow and never change: they are kept between runs, by package, case, inputs and weights."""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from parity import package
from parity.execution.case import Case
from parity.workers.reply import Answering, Reply
from samblocks.files import write_atomically

# What a truth depends on beside the upstream packages: a change in one of these makes the kept ones stale.
_SOURCES = ("execution/*.py", "cases/*.py", "references/**/*.py")


class TruthCache:
    """Lifted float64 outputs in a folder, one safetensors file each; `folder` None keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(
        self,
        client: Answering,
        case: Case,
        inputs: Mapping[str, Tensor],
        weights: Path | None,
        compute: Callable[[], Reply],
    ) -> Reply:
        """The kept truth, else a computed one, which is then kept if it is whole."""
        if self._folder is None:
            return compute()
        file = self._folder / f"{_key(client, case, inputs, weights)}.safetensors"
        if file.exists():
            with safe_open(file, framework="pt") as kept:
                note = kept.metadata()
                outputs = {name: kept.get_tensor(name) for name in json.loads(note["order"])}
            return Reply("ok", "", outputs, ())
        reply = compute()
        if reply.status == "ok" and reply.outputs:
            outputs = {name: value.contiguous() for name, value in reply.outputs.items()}
            note = {"case": case.id, "reference": client.reference.name, "order": json.dumps(list(outputs))}
            with write_atomically(file, make_folder=True) as stream:
                stream.write(safetensors.torch.save(outputs, note))
        return reply


def _key(client: Answering, case: Case, inputs: Mapping[str, Tensor], weights: Path | None) -> str:
    digest = hashlib.sha256(_source_digest().encode())
    digest.update(json.dumps([client.reference.name, client.versions, case.id], sort_keys=True).encode())
    for name, value in inputs.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    if weights is not None:
        with weights.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:40]


@cache
def _source_digest() -> str:
    root = package.FOLDER
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for file in sorted(root.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()
