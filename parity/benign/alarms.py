"""Our outputs under honest variations, judged as ever: how large R gets, and whether an alarm is raised."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from parity import fill
from parity.benign.variations import VARIATIONS
from parity.case import Case
from parity.compare import Comparison, Verdict, compare
from parity.execute import execute, prepare
from parity.goldens import Golden
from parity.mutants.kept import Kept
from parity.own import library
from parity.references.client import Client


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
                yield from _samples(variation.kind, case, reference, golden, outputs, plain)


def reseeded(cases: Sequence[Case], clients: Sequence[Client], salts: Sequence[str]) -> Iterator[Sample]:
    """Other weights and inputs: both sides are run anew.

    Args:
        cases: those that are not tuned to their own numbers.
        clients: the references' workers.
        salts: what is put before every name that values follow from.
    """
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        for case in cases:
            for salt in salts:
                inputs = {name: spec.tensor(f"{salt}:{case.id}:{name}") for name, spec in case.inputs.items()}
                weights = _salted(case, inputs, salt)
                file = Path(folder) / "weights.safetensors"
                if weights:
                    safetensors.torch.save_file(weights, file)
                ours = execute(case, library(), inputs, weights=weights or None)
                for client in clients:
                    name = client.reference.name
                    if name in case.known:
                        continue
                    given = file if weights else None
                    theirs = client.execute(case, inputs, weights=given)
                    truth = client.execute(case, inputs, lift=True, weights=given)
                    if theirs.status == truth.status == "ok":
                        golden = Golden(theirs.outputs, truth.outputs, {})
                        yield from _samples("other seeds", case, name, golden, ours.outputs, {})


def _salted(case: Case, inputs: Mapping[str, Tensor], salt: str) -> dict[str, Tensor]:
    """Weights whose values follow from salted names; integers stay."""
    if case.is_function:
        return {}
    module, _ = prepare(case, library())
    return {
        name: fill.tensor(f"{salt}.{name}", value.shape) if value.is_floating_point() else value.clone()
        for name, value in module.state_dict().items()
    }


def _samples(
    kind: str,
    case: Case,
    reference: str,
    golden: Golden,
    ours: Mapping[str, Tensor],
    plain: Mapping[str, Tensor],
) -> Iterator[Sample]:
    for path, theirs in golden.upstream.items():
        result = (
            compare(ours[path], theirs, golden.truth.get(path), bound=case.bound, exact=case.exact)
            if path in ours
            else Comparison(Verdict.INCOMPARABLE, cause="this output is gone")
        )
        moved = path in plain and not torch.equal(ours[path].nan_to_num(), plain[path].nan_to_num())
        yield Sample(kind, case.id, reference, path, theirs.numel(), case.bound, result, moved)
