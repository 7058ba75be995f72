"""A case with the tensors that it runs on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from parity.execution.case import Case, Library
from parity.run.draws import drawn, varied


@dataclass(frozen=True)
class Job:
    """A case with the tensors it runs on.

    Attributes:
        case: what to run.
        inputs: input tensors by name.
        weights: file with weights in Meta's names, instead of filled ones.
        model: a loaded model of ours, run in float32 in place of one that is made for the case.
        truth_of: the reference whose truth serves for all; by default each is judged by its own.
    """

    case: Case
    inputs: Mapping[str, Tensor] = field(repr=False)
    weights: Path | None = None
    model: nn.Module | None = field(default=None, repr=False)
    truth_of: str | None = None

    @property
    def filled(self) -> bool:
        """Whether the weights are those that follow from names."""
        return self.weights is None and self.model is None


def jobs(cases: Sequence[Case]) -> Iterator[Job]:
    """Cases on the inputs and weights that follow from their names."""
    for case in cases:
        yield Job(case, case.tensors())


@contextmanager
def another_draw(job: Job, number: int, library: Library) -> Iterator[Job | None]:
    """The job on other weights and inputs, or on other inputs where its weights were given; None where none vary."""
    if not job.filled:
        inputs = varied(job.inputs, number)
        changed = any(not torch.equal(inputs[name], job.inputs[name]) for name in inputs)
        yield replace(job, inputs=inputs) if changed else None
        return
    with drawn(job.case, number, library) as draw:
        yield None if draw is None else replace(job, inputs=draw.inputs, weights=draw.file)
