"""The main job: a checkpoint in, upstream's numbers out.

The file is loaded as a user loads it. Then each stage runs on a photograph, with the loaded model here and with
the references in their workers, which are given the file's own tensors: not what our loading made of them,
wherever the file has Meta's names.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from parity.cases import checkpoint as cases
from parity.errors import UsageError
from parity.execution import pictures
from parity.run.job import Job
from samblocks.checkpoints import LoadReport, load
from samblocks.checkpoints.reading.read import read
from samblocks.errors import CheckpointError


@contextmanager
def checkpoint_jobs(
    checkpoint: str, *, image: Path | None = None, envelope: str | None = None
) -> Iterator[list[Job]]:
    """The jobs of one checkpoint; while the context lasts, the file with the references' weights exists.

    Args:
        checkpoint: a file, or the name of a public one.
        image: a photograph in place of the one that ships with parity.
        envelope: the table of tensors that is meant, where the file holds several.

    Raises:
        UsageError: the checkpoint is a part of a model only, or the picture cannot be read.
        samblocks.errors.CheckpointError: the checkpoint cannot be loaded.
    """
    picture = pictures.read(image) if image is not None else None
    try:
        model, report = load(checkpoint, strict="explain", envelope=envelope)
    except CheckpointError:
        load(checkpoint, envelope=envelope)  # says of a part of several models that it is one
        raise
    if not report.complete:
        load(checkpoint, envelope=envelope)  # raises, with all that is missing or misshapen
    if report.component is not None:
        raise UsageError(
            f"{checkpoint} holds {report.component} of {report.variant} alone; the stages need a whole model"
        )
    case = cases.STAGES[report.variant]
    given = cases.inputs(report.variant, cases.SIZE, picture)
    tensors = {name: spec.tensor(f"{case.id}:{name}") for name, spec in given.items()}
    with tempfile.TemporaryDirectory(prefix="parity-weights-") as folder:
        weights = Path(folder) / "weights.safetensors"
        safetensors.torch.save_file(reference_weights(model, report, envelope), weights)
        yield [Job(case, tensors, weights, model=model, truth_of=truth_of(report.variant))]


def reference_weights(model: nn.Module, report: LoadReport, envelope: str | None = None) -> dict[str, Tensor]:
    """What the references load, by Meta's names: the file's own tensors, where it has those names."""
    own = model.state_dict()
    file = read(report.path, envelope=envelope)
    if set(file.tensors) == set(own):
        return {name: file.get(name).clone() for name in own}
    return {name: value.detach().clone().contiguous() for name, value in own.items()}


def truth_of(variant: str) -> str:
    """Which reference computes the truth, once for all: at full size it is slow, and theirs are equal.

    They take turns: so that each of two workers has a truth to compute when both a SAM 1 and a SAM 2
    checkpoint are given.
    """
    if variant.startswith("sam_hq"):
        return "hq"
    return "meta" if variant.startswith(("sam2", "slimsam")) else "ultralytics"
