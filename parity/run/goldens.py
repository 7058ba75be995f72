"""Goldens: upstream's outputs and their float64 truth in files, so that blocks are judged without upstream.

One safetensors file for each case and reference, at `goldens/<reference>/<Block>/<case>.safetensors`. Weights and
inputs are not in it: they follow from their names, and the file holds hashes that tell "the inputs changed" from
"the block changed". A golden that was not recorded from upstream is refused: a harness whose goldens come from the
code under test proves nothing.

A golden is recorded on one machine and judged on another, whose float32 rounds otherwise. So it also holds the
reference's error in further draws of weights and inputs, numbers and not tensors: a first alarm is decided by these,
with our own float64 as the truth, once that was shown to be the golden's truth.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from parity import package
from parity.execution import fill
from parity.execution.case import Case
from parity.workers.registry import REFERENCES, Reference
from parity.workers.reply import Reply
from samblocks.files import write_atomically
from samblocks.numerics.matmul import matmul_error_ratio

FOLDER = package.FOLDER / "goldens"
SCHEMA = 2

_UPSTREAM, _TRUTH = "upstream/", "truth/"

State = Sequence[tuple[str, tuple[int, ...]]]
"""Names and shapes of a module's tensors."""


class GoldenError(ValueError):
    """A golden that cannot be trusted, or does not belong to the case; the text says why."""


@dataclass(frozen=True)
class Golden:
    """What a file holds.

    Attributes:
        upstream: upstream's float32 outputs, by path.
        truth: the same outputs from the lifted float64 run.
        provenance: where they come from.
        errors: by output, the rms error of upstream in each further draw; None where a draw could not be run.
        honest: by output, the relative error in each draw of another upstream that computes the same, if it is larger.
    """

    upstream: dict[str, Tensor]
    truth: dict[str, Tensor]
    provenance: dict[str, Any]
    errors: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    honest: Mapping[str, Sequence[float]] = field(default_factory=dict)


def path_of(case: Case, reference: str, folder: Path = FOLDER) -> Path:
    """Where the golden of a case lies."""
    return folder / reference / case.block / f"{case.name}.safetensors"


def provenance(
    case: Case,
    reference: Reference,
    versions: Mapping[str, str],
    state: State,
    matmul_error: float | None = None,
) -> dict[str, Any]:
    """What is written beside the tensors: package, version and commit, torch, platform and its kernels, hashes."""
    import platform

    return {
        "schema": SCHEMA,
        "case": case.id,
        "recorded_from": reference.name,
        "packages": {name: versions[name] for name in reference.packages},
        "sources": dict(reference.sources),
        "torch": versions["torch"],
        "platform": f"{platform.system()} {platform.machine()}",
        "matmul_error": matmul_error,
        "inputs": inputs_digest(case),
        "weights": weights_digest(case, state),
        "state": [[name, list(shape)] for name, shape in state],
    }


def write(golden: Golden, file: Path) -> None:
    """Write a golden, whole or not at all."""
    tensors = {_UPSTREAM + name: value.contiguous() for name, value in golden.upstream.items()}
    tensors |= {_TRUTH + name: value.contiguous() for name, value in golden.truth.items()}
    note = {
        "provenance": json.dumps(golden.provenance, sort_keys=True),
        "order": json.dumps(list(golden.upstream)),
        "errors": json.dumps(golden.errors),
        "honest": json.dumps(golden.honest),
    }
    with write_atomically(file, make_folder=True) as stream:
        stream.write(safetensors.torch.save(tensors, note))


def read(file: Path) -> Golden:
    """Read a golden.

    Raises:
        GoldenError: when the file is damaged, or was not recorded from an upstream package.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            note = stored.metadata() or {}
            found = json.loads(note.get("provenance", "{}"))
            _refuse_unless_upstream(found, file)
            order = json.loads(note["order"])
            upstream = {name: stored.get_tensor(_UPSTREAM + name) for name in order}
            truth = {name: stored.get_tensor(_TRUTH + name) for name in order}
            errors, honest = json.loads(note["errors"]), json.loads(note["honest"])
    except (SafetensorError, KeyError, json.JSONDecodeError) as damage:
        raise GoldenError(f"{file} is damaged ({damage}); record it anew: make goldens") from None
    return Golden(upstream, truth, found, errors, honest)


def _refuse_unless_upstream(found: Mapping[str, Any], file: Path) -> None:
    origin = found.get("recorded_from")
    reference = REFERENCES.get(str(origin))
    if reference is None:
        raise GoldenError(
            f"{file} was recorded from {origin or 'nothing that it names'}; goldens come from upstream alone: "
            f"{', '.join(REFERENCES)}"
        )
    if set(found.get("packages", ())) != set(reference.packages):
        raise GoldenError(
            f"{file} does not say which versions of {', '.join(reference.packages)} it comes from"
        )
    if found.get("schema") != SCHEMA:
        raise GoldenError(f"{file} has schema {found.get('schema')}, this reader knows {SCHEMA}")


def inputs_digest(case: Case) -> str:
    """Hash of the case's inputs, as they are made here and now."""
    digest = hashlib.sha256()
    for name, value in case.tensors().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def weights_digest(case: Case, state: State) -> str:
    """Hash of the names, shapes and filled values of a module's tensors, in canonical order."""
    digest = hashlib.sha256()
    tensors = {name: torch.from_numpy(fill.rounded(name, shape).copy()) for name, shape in sorted(state)}
    if case.adjust is not None and tensors:  # there are none where the case has no counterpart
        case.adjust(tensors)
    for name, value in tensors.items():
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


class GoldenClient:
    """Answers like a reference's worker does, from goldens; cases without one have no counterpart.

    Attributes:
        reference: which one.
        versions: versions of the packages that the goldens come from.
    """

    def __init__(self, reference: Reference, folder: Path = FOLDER) -> None:
        self.reference = reference
        self.versions: dict[str, str] = {}
        self._folder = folder
        self._last: tuple[Path, Golden] | None = None

    def cases(self, cases: Iterable[Case]) -> Iterator[Case]:
        """Those of `cases` that have a golden."""
        return (case for case in cases if path_of(case, self.reference.name, self._folder).exists())

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
        """See `parity.workers.client.Client.execute`; raises GoldenError where the golden has gone stale."""
        file = path_of(case, self.reference.name, self._folder)
        recorded = autocast is None and (lift or dtype is torch.float32)
        if weights is not None or not recorded or not file.exists():
            return Reply("no counterpart", "no golden was recorded for this", {}, ())
        golden = self._read(file)
        if golden.provenance["inputs"] != inputs_digest(case):
            raise GoldenError(f"the inputs of {case.id} are not those of its golden any more: make goldens")
        self.versions = {**golden.provenance["packages"], "torch": golden.provenance["torch"]}
        state = tuple((name, tuple(shape)) for name, shape in golden.provenance["state"])
        outputs = dict(golden.truth if lift else golden.upstream)
        return Reply("ok", "", outputs, state, golden.provenance.get("matmul_error"))

    def errors(self, case: Case, number: int, output: str) -> tuple[float, float] | None:
        """The reference's rms error in one output in a further draw, and the relative one of its equivalents.

        Returns:
            Both, as they are with the matrix products of this processor; None where the reference could not be run on
            that draw.
        """
        golden = self._read(path_of(case, self.reference.name, self._folder))
        recorded = golden.errors[output][number - 1]
        honest = golden.honest.get(output)
        if recorded is None:
            return None
        matmul = matmul_error_ratio(golden.provenance.get("matmul_error"))
        return matmul * recorded, matmul * (honest[number - 1] if honest else 0.0)

    def _read(self, file: Path) -> Golden:
        """A golden; the last one is remembered, since its draws and outputs are asked for one after the other."""
        last = self._last  # more than one thread may ask
        if last is None or last[0] != file:
            self._last = last = file, read(file)
        return last[1]
