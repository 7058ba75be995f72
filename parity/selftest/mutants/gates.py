"""Which gates see a bug in one case: ours, and beside them the two that are usual."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from parity.execution.case import Case
from parity.execution.execute import execute
from parity.run.goldens import Golden
from parity.run.samblocks_library import library
from parity.verdict.compare import Comparison, compare, compare_double
from parity.verdict.metrics import cosine
from samblocks.numerics.draws import undecided

GATES = ("raised", "state_dict", "shape/dtype", "finite", "exact", "R fp32", "rel fp64", "timeout")
"""What can see a bug, the coarsest first."""

_ATOL, _COSINE = 1e-4, 0.99

USUAL = {"atol": "atol 1e-4", "cosine": "cosine 0.99"}
"""The gates in use elsewhere, which ours are compared with; fields of `Findings`."""


@dataclass
class Findings:
    """What was seen in one case.

    Attributes:
        gates: gate → the output that it saw, and how.
        atol: whether `allclose(atol=1e-4, rtol=0)` on the float32 outputs would have failed somewhere.
        cosine: whether a cosine below 0.99 would have shown somewhere.
        ratio: the largest R that was seen in float32.
    """

    gates: dict[str, str] = field(default_factory=dict)
    atol: bool = False
    cosine: bool = False
    ratio: float | None = None

    def see(self, gate: str, what: str) -> None:
        """Note what a gate saw, the first time."""
        self.gates.setdefault(gate, what)

    def crash(self, gate: str, what: str) -> None:
        """Note what every harness would see."""
        self.see(gate, what)
        self.atol = self.cosine = True


def judge(case: Case, goldens: Mapping[str, Golden]) -> Findings:
    """Run our side of a case, with whatever bug is in it, and hold it against kept upstream outputs.

    Args:
        case: what to run.
        goldens: upstream's outputs by the reference's name.
    """
    found = Findings()
    inputs = case.tensors()
    for dtype in (torch.float32, torch.float64) if case.double else (torch.float32,):
        try:
            outcome = execute(case, library(), inputs, dtype=dtype)
        except Exception as error:  # whatever a bug leads to is a way to be seen
            found.crash("raised", f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
            return found
        for golden in goldens.values():
            state = {(name, tuple(shape)) for name, shape in golden.provenance["state"]}
            if set(outcome.state) != state:
                found.crash("state_dict", f"{len(set(outcome.state) ^ state)} tensors differ")
            if dtype is torch.float32:
                _single(case, outcome.outputs, golden, found)
            else:
                _double(case, outcome.outputs, golden, found)
    return found


def _single(case: Case, ours: Mapping[str, Tensor], golden: Golden, found: Findings) -> None:
    if set(ours) != set(golden.upstream):
        found.crash("shape/dtype", f"outputs {sorted(set(ours) ^ set(golden.upstream))[:3]}")
        return
    for path, theirs in golden.upstream.items():
        result = compare(
            ours[path],
            theirs,
            golden.truth.get(path),
            bound=case.bound,
            exact=case.exact,
        )
        if result.ratio is not None:
            found.ratio = max(found.ratio or 0.0, result.ratio)
        _usual(ours[path], theirs, found)
        if result.verdict.failed and not undecided(result, case.bound):
            _see(path, result, found)


def _double(case: Case, ours: Mapping[str, Tensor], golden: Golden, found: Findings) -> None:
    if set(ours) != set(golden.truth):
        found.crash("shape/dtype", f"outputs {sorted(set(ours) ^ set(golden.truth))[:3]}")
        return
    for path, truth in golden.truth.items():
        result = compare_double(ours[path], truth, bound=0.0 if case.exact else case.bound64)
        if result.verdict.failed and result.ratio is not None:
            found.see("rel fp64", f"{path}: {result.ratio:.1e}")
        elif result.verdict.failed:
            _see(path, result, found)


def _see(path: str, result: Comparison, found: Findings) -> None:
    if result.ratio is not None:
        found.see("R fp32", f"{path}: {result.ratio:.3g}")
    elif result.max_abs is None:
        found.crash("shape/dtype", f"{path}: {result.cause}")
    elif "finite" in result.cause:
        found.crash("finite", path)
    else:
        found.see("exact", f"{path}: {result.max_abs:.1e}")


def _usual(ours: Tensor, theirs: Tensor, found: Findings) -> None:
    """What the field's two habits would have said."""
    if ours.shape != theirs.shape:
        return
    if not torch.allclose(ours.double(), theirs.double(), atol=_ATOL, rtol=0.0, equal_nan=True):
        found.atol = True
    if not ours.is_floating_point():
        found.cosine = found.cosine or not torch.equal(ours, theirs)
    elif ours.numel():
        found.cosine = found.cosine or cosine(ours, theirs) < _COSINE
