"""Measure envelopes: how large upstream's own error gets when it is varied honestly; see `parity.verdict.envelopes`."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from parity.execution.case import Case
from parity.run.goldens import Golden
from parity.run.siblings import errors_of_siblings
from parity.selftest.calibration.seeds import salted_inputs, salted_weights
from parity.selftest.calibration.variations import channels_last
from parity.selftest.mutants.reference_outputs import Kept
from parity.verdict.compare import rms
from parity.verdict.envelopes import FEW, OF_INPUTS
from parity.workers.client import Client

SALTS = tuple(f"envelope{number}" for number in range(1, 9))
"""Other ones than the seeds of the calibration, which is to be held against figures that it did not make."""

_FLIPPED = 1e-3
"""A relative error above this is no rounding: with these weights a choice went the other way in float32."""

_LARGER = 1.25
"""A layout is kept where it makes the error larger by at least this factor."""


def measure(
    cases: Sequence[Case], kept: Mapping[str, Kept], clients: Sequence[Client]
) -> dict[str, dict[str, dict[str, float]]]:
    """Upstream's error, varied honestly, in each output where it matters, by reference, case and output."""
    found: dict[str, dict[str, dict[str, float]]] = {client.reference.name: {} for client in clients}
    for case in cases:
        if case.exact:
            continue
        for client in clients:
            name = client.reference.name
            if name in kept[case.id]:
                golden = kept[case.id][name]
                largest = _over_seeds(case, client, golden)
                layout = _channels_last(case, client, golden)
                for path, error in [*layout.items(), *errors_of_siblings(kept[case.id], name).items()]:
                    largest[path] = max(largest.get(path, 0.0), error)
                found[name][case.id] = {path: error for path, error in largest.items() if error > 0.0}
    return found


def _over_seeds(case: Case, client: Client, golden: Golden) -> dict[str, float]:
    """The largest relative error over other weights and inputs, of each output that luck decides."""
    small = [
        path
        for path, value in golden.upstream.items()
        if value.is_floating_point()
        and value.numel()
        and (value.numel() < FEW or path.startswith(OF_INPUTS))
        and rms(golden.truth[path]) > 0.0
    ]
    errors: dict[str, list[float]] = {path: [] for path in small}
    for salt in SALTS if small else ():
        inputs = salted_inputs(case, salt)
        with salted_weights(case, salt) as (_, file):
            single = client.execute(case, inputs, weights=file)
            truth = client.execute(case, inputs, lift=True, weights=file)
        if single.status == truth.status == "ok":
            for path in small:
                errors[path].append(_relative(single.outputs[path], truth.outputs[path]))
    return {
        path: max((error for error in values if error < _FLIPPED), default=0.0)
        for path, values in errors.items()
    }


def _channels_last(case: Case, client: Client, golden: Golden) -> dict[str, float]:
    """The relative error with maps in another memory layout, of each output where that makes it larger."""
    inputs = {name: channels_last(value) for name, value in case.tensors().items()}
    if all(value.is_contiguous() for value in inputs.values()):
        return {}
    reply = client.execute(case, inputs)
    if reply.status != "ok":
        return {}
    varied = {
        path: _relative(reply.outputs[path], truth)
        for path, truth in golden.truth.items()
        if truth.is_floating_point() and truth.numel()
    }
    return {
        path: error
        for path, error in varied.items()
        if _LARGER * _relative(golden.upstream[path], golden.truth[path]) < error < _FLIPPED
    }


def _relative(single: Tensor, truth: Tensor) -> float:
    return rms(single.double() - truth.double()) / max(rms(truth), 1e-300)
