"""Our outputs under honest variations, judged as ever: how large R gets, and whether an alarm is raised."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from parity.execution.case import Case
from parity.execution.execute import execute
from parity.run.goldens import Golden
from parity.run.samblocks_library import library
from parity.run.siblings import errors_of_siblings
from parity.selftest.calibration.seeds import salted_inputs, salted_weights
from parity.selftest.calibration.variations import VARIATIONS
from parity.selftest.mutants.reference_outputs import Kept
from parity.verdict.compare import Comparison, Verdict, compare
from parity.verdict.envelopes import envelope
from parity.workers.client import Client


@dataclass(frozen=True)
class Sample:
    """One output of one case under one variation, against one reference."""

    kind: str
    case: str
    reference: str
    output: str
    numbers: int
    bound: float
    comparison: Comparison
    moved: bool

    @property
    def alarm(self) -> bool:
        """Whether the verdict says that something is wrong."""
        return self.comparison.verdict.failed


def varied(cases: Sequence[Case], kept: Mapping[str, Kept]) -> Iterator[Sample]:
    """Every variation that does not need upstream to run again, over all cases."""
    for case in cases:
        inputs = case.tensors()
        plain: dict[str, Tensor] = {}
        for variation in VARIATIONS:
            if not kept[case.id] or not variation.applies(case, inputs):
                continue
            outputs = variation.run(case, inputs).outputs
            plain = plain or outputs
            for reference, golden in kept[case.id].items():
                yield from _samples(variation.kind, case, reference, golden, outputs, plain, {})


def reseeded(cases: Sequence[Case], clients: Sequence[Client], salts: Sequence[str]) -> Iterator[Sample]:
    """Other weights and inputs: both sides are run anew.

    Args:
        cases: those that are not tuned to their own numbers.
        clients: the references' workers.
        salts: what is put before every name that values follow from.
    """
    for case in cases:
        for salt in salts:
            inputs = salted_inputs(case, salt)
            with salted_weights(case, salt) as (weights, file):
                ours = execute(case, library(), inputs, weights=weights)
                answers = _answers(case, clients, inputs, file)
            for name, golden in answers.items():
                siblings = errors_of_siblings(answers, name)
                yield from _samples(salt, case, name, golden, ours.outputs, {}, siblings)


def _answers(
    case: Case, clients: Sequence[Client], inputs: Mapping[str, Tensor], weights: Path | None
) -> dict[str, Golden]:
    """Outputs and truths of every reference that has the case and is not known to differ."""
    answers = {}
    for client in clients:
        if client.reference.name in case.known:
            continue
        theirs = client.execute(case, inputs, weights=weights)
        truth = client.execute(case, inputs, lift=True, weights=weights)
        if theirs.status == truth.status == "ok":
            answers[client.reference.name] = Golden(theirs.outputs, truth.outputs, {})
    return answers


def _samples(
    kind: str,
    case: Case,
    reference: str,
    golden: Golden,
    ours: Mapping[str, Tensor],
    plain: Mapping[str, Tensor],
    siblings: Mapping[str, float],
) -> Iterator[Sample]:
    for path, theirs in golden.upstream.items():
        result = (
            compare(
                ours[path],
                theirs,
                golden.truth.get(path),
                bound=case.bound,
                exact=case.exact,
                envelope=max(envelope(reference, case.id, path), siblings.get(path, 0.0)),
            )
            if path in ours
            else Comparison(Verdict.INCOMPARABLE, cause="this output is gone")
        )
        moved = path in plain and not torch.equal(ours[path].nan_to_num(), plain[path].nan_to_num())
        yield Sample(kind, case.id, reference, path, theirs.numel(), case.bound, result, moved)
