"""The verdict on a swap: the model's outputs before and after it, held against a run in float64."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from statistics import median
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from samblocks.swap.float64 import run_in_double

BOUND = 2.0
"""How many times the host's own error ours may be."""

_ORDER = ("EXACT", "NOISE", "WITHIN", "INCOMPARABLE", "DIVERGED")
_MANY = 256
"""Numbers of an output from which on its error is no matter of luck."""

_LARGEST = 4 << 30
"""Bytes that a copy of the model in float64 may have."""


@dataclass(frozen=True)
class OutputVerdict:
    """One output tensor.

    Args:
        output: where it is in what the model returns.
        verdict: EXACT (equal bits), WITHIN (our error is at most twice the host's), NOISE (the host's error is
            below rounding, or on a few numbers below its usual one, and ours not above twice that), DIVERGED,
            or INCOMPARABLE.
        ratio: our error over the host's, both against float64; None where there is no such run.
        relative: the largest difference over the largest value; None for equal bits and for other than floats.
        flipped: elements that differ, of outputs that are not floating-point.
        cause: what is wrong, or why there is no ratio.
    """

    output: str
    verdict: str
    ratio: float | None = None
    relative: float | None = None
    flipped: int = 0
    cause: str = ""


@dataclass(frozen=True)
class Verification:
    """The verdicts on all outputs."""

    outputs: tuple[OutputVerdict, ...]

    @property
    def verdict(self) -> str:
        """The worst word."""
        return max((row.verdict for row in self.outputs), key=_ORDER.index, default="INCOMPARABLE")

    @property
    def holds(self) -> bool:
        """Whether every output is equal or within the bound."""
        return bool(self.outputs) and _ORDER.index(self.verdict) < _ORDER.index("INCOMPARABLE")

    @property
    def ratio(self) -> float | None:
        """The largest ratio."""
        return max((row.ratio for row in self.outputs if row.ratio is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """The verdicts as plain data."""
        return {"verdict": self.verdict, "outputs": [asdict(row) for row in self.outputs]}

    def __str__(self) -> str:
        """The verdicts as a table."""
        lines = [
            f"{row.verdict:12} {'' if row.ratio is None else f'R {row.ratio:.2f}':8} "
            f"{'' if row.relative is None else f'{row.relative:.1e}':8} {row.output} {row.cause}".rstrip()
            for row in self.outputs
        ]
        return "\n".join([*lines, f"{self.verdict}: {len(self.outputs)} outputs"])


class Swap(Protocol):
    """A swap that can be undone and applied again."""

    model: nn.Module

    @property
    def applied(self) -> bool:
        """Whether our modules are in their places."""
        ...

    def apply(self) -> object:
        """Put our modules into their places."""
        ...

    def undo(self) -> None:
        """Put the host's back."""
        ...


def verify(swap: Swap, inputs: tuple[Any, ...], run: Callable[..., Any] | None) -> Verification:
    """Run the model with and without the swap; see `SwapReport.verify`. It is left as it was found."""
    model, was = swap.model, swap.applied
    call = run or _call
    with _evaluating(model), torch.no_grad():
        try:
            swap.undo()
            host = dict(flat(_once(model, inputs, call)))
            swap.apply()
            ours = dict(flat(_once(model, inputs, call)))
            equal = all(name in ours and _equal(ours[name], tensor) for name, tensor in host.items())
            swap.undo()
            # Equal bits need no third run to judge them by.
            truth, why = ({}, "") if equal else _truth(model, inputs, call)
        finally:
            if was:
                swap.apply()
            else:
                swap.undo()
    usual = _usual_error(host, truth)
    rows = [judge(name, ours.get(name), tensor, truth.get(name), why, usual) for name, tensor in host.items()]
    rows += [
        OutputVerdict(name, "INCOMPARABLE", cause="only after the swap") for name in ours if name not in host
    ]
    return Verification(tuple(rows))


def judge(
    name: str,
    ours: Tensor | None,
    host: Tensor,
    truth: Tensor | None,
    why: str = "",
    usual: float = 0.0,
) -> OutputVerdict:
    """Judge one output.

    Args:
        name: what it is called.
        ours: after the swap.
        host: before the swap.
        truth: the host's in float64, None where there is none.
        why: why there is none.
        usual: the host's relative error elsewhere, by which outputs of a few numbers are judged where their own
            is smaller: on so few it is a matter of luck.
    """
    if ours is None:
        return OutputVerdict(name, "INCOMPARABLE", cause="only before the swap")
    if ours.shape != host.shape or ours.dtype != host.dtype:
        now, then = (f"{tuple(x.shape)} {x.dtype}".replace("torch.", "") for x in (ours, host))
        return OutputVerdict(name, "INCOMPARABLE", cause=f"{now} after the swap, {then} before")
    if _equal(ours, host):
        return OutputVerdict(name, "EXACT")
    if not host.is_floating_point():
        flipped = int((ours != host).sum())
        return OutputVerdict(
            name, "DIVERGED", flipped=flipped, cause=f"{flipped} of {host.numel()} elements differ"
        )
    difference = float((ours.double() - host.double()).abs().max())
    relative = difference / (float(host.double().abs().max()) or 1.0)
    if not math.isfinite(difference):
        return OutputVerdict(name, "DIVERGED", relative=relative, cause="not finite on one side")
    epsilon = torch.finfo(host.dtype).eps
    if truth is None or truth.shape != host.shape:
        verdict = "WITHIN" if relative <= 64 * epsilon else "DIVERGED"
        return OutputVerdict(name, verdict, relative=relative, cause=f"by the relative difference: {why}")
    floor = max(epsilon / 2, usual if host.numel() < _MANY else 0.0) * _rms(truth)
    own, theirs = _rms(ours.double() - truth), _rms(host.double() - truth)
    scale = max(theirs, floor)
    ratio = own / scale if scale > 0 else math.inf
    verdict = "DIVERGED" if not ratio <= BOUND else "NOISE" if theirs < floor else "WITHIN"
    return OutputVerdict(name, verdict, ratio, relative)


def _usual_error(host: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> float:
    """The host's relative error, the median over its outputs of many numbers; 0 where there are none."""
    found = [
        _rms(tensor.double() - truth[name]) / (_rms(truth[name]) or 1.0)
        for name, tensor in host.items()
        if name in truth and truth[name].shape == tensor.shape and tensor.is_floating_point()
        if tensor.numel() >= _MANY and bool(tensor.isfinite().all())
    ]
    return median(found) if found else 0.0


def flat(value: Any, path: str = "out") -> Iterator[tuple[str, Tensor]]:
    """Name every tensor or array in what a model returns."""
    if isinstance(value, Tensor):
        yield path, value.detach()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        yield path, torch.from_numpy(np.ascontiguousarray(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from flat(item, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from flat(item, f"{path}[{index}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from flat(getattr(value, entry.name), f"{path}.{entry.name}")


def _call(model: Any, *inputs: Any) -> Any:
    """A plain call; SAM 2 has no forward, its image encoder stands for it."""
    without_forward = type(model).__name__ in ("SAM2Base", "SAM2Model", "SAM2VideoPredictor")
    return model.forward_image(*inputs) if without_forward else model(*inputs)


def _once(model: nn.Module, inputs: tuple[Any, ...], call: Callable[..., Any]) -> Any:
    """One call with inputs of its own and the same random numbers each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return copy.deepcopy(call(model, *copy.deepcopy(inputs)))


def _truth(
    model: nn.Module, inputs: tuple[Any, ...], call: Callable[..., Any]
) -> tuple[dict[str, Tensor], str]:
    """The outputs in float64, or none and the reason."""
    size = 8 * sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    if size > _LARGEST:
        return {}, f"a copy in float64 would take {size / 2**30:.0f} GiB"
    try:
        found = dict(flat(run_in_double(model, inputs, call)))
    except Exception as error:  # whatever a host does that float64 does not bear
        return {}, f"no run in float64 ({type(error).__name__}: {str(error).splitlines()[0][:80]})"
    if not any(tensor.dtype == torch.float64 for tensor in found.values()):
        return {}, "nothing came out in float64"
    return found, ""


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout meanwhile; every flag as it was afterwards."""
    flags = [(module, module.training) for module in model.modules()]
    for module, _ in flags:
        module.training = False
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if torch.equal(a, b) or not a.is_floating_point() or not bool(a.isnan().any()):
        return torch.equal(a, b)
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt()) if x.numel() else 0.0
