"""Truths are slow: they are kept between runs, and one is believed only while all that it depends on is as it was.

That is the reference's installed files and versions, our own code that the case rests on, its inputs and weights. A
file that is damaged, or of another kind, is none. What has changed leaves a file behind that nobody asks for again: it
goes when it has not been asked for long enough.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from parity.execution.case import Case
from parity.run import sources
from parity.workers.reply import Answering, Reply
from samblocks.files import write_atomically

Outputs = dict[str, Tensor]

UNUSED_DAYS = 14
"""How long a truth is kept that no run asks for; two branches in turn find theirs again."""


class TruthCache:
    """Lifted float64 outputs in a folder, one safetensors file each."""

    def __init__(
        self, folder: Path | None, installed: Mapping[str, str | None] = MappingProxyType({})
    ) -> None:
        """Keep truths in `folder`.

        Args:
            folder: where to; None keeps nothing.
            installed: a digest of each reference's installed files, by its name; None where they cannot be told,
                and then nothing of it is kept. One that is not named is known by its versions alone.
        """
        self._folder = folder
        self._installed = installed

    def get(
        self,
        client: Answering,
        case: Case,
        inputs: Mapping[str, Tensor],
        weights: Path | None,
        compute: Callable[[], Reply],
    ) -> Reply:
        """The kept truth, else a computed one, which is then kept if it is whole."""
        name = client.reference.name
        installed = self._installed.get(name, "")
        if self._folder is None or installed is None:
            return compute()
        file = self._folder / f"{_key(client, installed, case, inputs, weights)}.safetensors"
        found = _read(file, [name, case.id])
        if found is not None:
            with suppress(OSError):  # a folder that may only be read serves truths all the same
                os.utime(file)  # the time of the last use, by which `prune` goes
            return Reply("ok", "", found, ())
        reply = compute()
        if reply.status == "ok" and reply.outputs:
            _write(file, [name, case.id], reply.outputs)
        return reply

    def prune(self) -> int:
        """Remove truths that no run has asked for in `UNUSED_DAYS`.

        Returns:
            How many.
        """
        if self._folder is None:
            return 0
        oldest = time.time() - UNUSED_DAYS * 86400
        removed = 0
        for file in self._folder.glob("*.safetensors"):
            with suppress(OSError):  # another run was faster, or the folder may only be read
                if file.stat().st_mtime < oldest:
                    file.unlink()
                    removed += 1
        return removed


def _key(
    client: Answering, installed: str, case: Case, inputs: Mapping[str, Tensor], weights: Path | None
) -> str:
    reference = client.reference
    ours = sources.digest(case.id, reference.module)
    facts = [reference.name, client.versions, installed, case.id, ours]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, value in inputs.items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {value.stride()}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    if weights is not None:
        with weights.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:40]


def _write(file: Path, whose: Sequence[str], outputs: Mapping[str, Tensor]) -> None:
    whole = {name: value.contiguous() for name, value in outputs.items()}
    note = {"whose": json.dumps(whose), "order": json.dumps(list(whole)), "sha256": _hash(whose, whole)}
    with write_atomically(file, make_folder=True) as stream:
        stream.write(safetensors.torch.save(whole, note))


def _read(file: Path, whose: Sequence[str]) -> Outputs | None:
    """The outputs in a file, if it holds exactly what was written into it."""
    try:
        raw = file.read_bytes()
        note = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
        tensors = safetensors.torch.load(raw)
        outputs = {name: tensors[name] for name in json.loads(note["order"])}
        written = note["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError):
        return None
    return outputs if written == _hash(whose, outputs) else None


def _hash(whose: Sequence[str], outputs: Mapping[str, Tensor]) -> str:
    """Of names in their order, dtypes, shapes and values; and of whose outputs they are."""
    digest = hashlib.sha256(json.dumps([*whose, *outputs]).encode())
    digest.update(safetensors.torch.save(dict(outputs)))
    return digest.hexdigest()
