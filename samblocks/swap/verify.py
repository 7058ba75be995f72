"""The verdict on a swap: the model's outputs before and after it, held against the host's run in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from samblocks.errors import SwapError
from samblocks.numerics.draws import decided, vary
from samblocks.numerics.float64 import lifted
from samblocks.numerics.nested import subscripted, tensors
from samblocks.numerics.repeats import differing, drawing, generators, random_state
from samblocks.numerics.verdict import (
    SEVERITY,
    UNDECIDED,
    Comparison,
    Verdict,
    compare,
    compare_double,
    is_inexact,
    largest,
)
from samblocks.swap.float64 import widen, widened
from samblocks.swap.short_drive import understood
from samblocks.swap.watching import watching

SAME = 1e-10
"""Largest relative difference in float64 of a model that computes the same."""

INCOMPLETE = "INCOMPLETE"
"""The word where all outputs are as they should be, but not every swapped module had a part in them."""

_LARGEST = 4 << 30
"""Bytes that a copy of the model in float64 may have."""

Outputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class OutputVerdict:
    """One output tensor.

    Args:
        output: where it is in what the model returns.
        verdict: EXACT (equal bits), WITHIN (the same function, and our error at most twice the host's), NOISE (the
            same, the host's error being below rounding), DIVERGED, or INCOMPARABLE.
        ratio: our error over the host's, both against float64, the geometric mean where several draws of the inputs
            decided; None where there is no such run.
        relative: the largest difference over the largest value; None for equal bits and for other than floats.
        flipped: elements that differ, of outputs that are not floating-point.
        cause: what is wrong, which of the two questions failed, or why there is no ratio.
        draws: how many draws of the inputs decided.
        double: the relative difference in float64; None where that was not asked.
    """

    output: str
    verdict: str
    ratio: float | None = None
    relative: float | None = None
    flipped: int = 0
    cause: str = ""
    draws: int = 1
    double: float | None = None


@dataclass(frozen=True)
class Verification:
    """The verdicts on all outputs. It is true in an `if` where it holds.

    Args:
        outputs: a row for each.
        not_run: the paths of swapped modules that nothing called: of these it says nothing.
    """

    outputs: tuple[OutputVerdict, ...]
    not_run: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst word; INCOMPLETE where no output is bad, but some swapped module did not run."""
        words = (row.verdict for row in self.outputs)
        worst = max(words, key=SEVERITY.index, default=Verdict.INCOMPARABLE)
        return INCOMPLETE if self.not_run and not Verdict(worst).failed else str(worst)

    @property
    def holds(self) -> bool:
        """Whether every output is equal or within the bound, and every swapped module ran."""
        return bool(self.outputs) and not self.not_run and not Verdict(self.verdict).failed

    def __bool__(self) -> bool:
        """As `holds`."""
        return self.holds

    @property
    def ratio(self) -> float | None:
        """The largest ratio."""
        return max((row.ratio for row in self.outputs if row.ratio is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """The verdicts as plain data."""
        rows = [asdict(row) for row in self.outputs]
        return {"verdict": self.verdict, "outputs": rows, "not_run": list(self.not_run)}

    def __str__(self) -> str:
        """The verdicts as a table."""
        lines = [
            f"{row.verdict:12} {'' if row.ratio is None else f'R {row.ratio:.2f}':8} "
            f"{'' if row.relative is None else f'{row.relative:.1e}':8} {row.output} {row.cause}".rstrip()
            for row in self.outputs
        ]
        lines += [f"{'did not run':21} {path}" for path in self.not_run]
        unseen = f", {len(self.not_run)} swapped modules did not run" if self.not_run else ""
        return "\n".join([*lines, f"{self.verdict}: {len(self.outputs)} outputs{unseen}"])


class Swap(Protocol):
    """A swap that can be undone and applied again."""

    model: nn.Module

    @property
    def hosts(self) -> Mapping[str, nn.Module]:
        """The host's modules by their paths."""
        ...

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


def verify(
    swap: Swap,
    inputs: tuple[Any, ...],
    run: Callable[..., Any] | None,
    progress: Callable[[str], None] | None = None,
) -> Verification:
    """Run the model with and without the swap; see `SwapReport.verify`. It is left as it was found."""
    was = swap.applied
    with evaluating(swap.model), torch.no_grad():
        try:
            given, call = understood(swap.model, inputs, run)
            return _verified(_Sides(swap, call), given, progress or (lambda _: None))
        finally:
            if was:
                swap.apply()
            else:
                swap.undo()


def _verified(sides: _Sides, inputs: tuple[Any, ...], tell: Callable[[str], None]) -> Verification:
    tell("the host, twice")
    host = sides.host(inputs)
    with watching(sides.hosts.values()) as ran:
        sides.refuse_randomness(inputs, host)
    not_run = tuple(path for path, module in sides.hosts.items() if id(module) not in ran)
    tell("with our modules")
    ours = sides.ours(inputs)
    first = {name: compare(ours[name], tensor, None) for name, tensor in host.items() if name in ours}
    truth: Outputs = {}
    wide: Outputs = {}
    why = ""
    # Equal bits need no run in float64 to judge them by.
    if any(found.verdict is not Verdict.EXACT for found in first.values()):
        tell("both in float64")
        truth, why = sides.truth(inputs)
        wide = sides.ours_in_float64(inputs) if truth else {}
    double = {
        name: compare_double(wide[name], truth[name], bound=SAME)
        for name in host
        if name in wide and name in truth
    }
    first = {name: compare(ours[name], host[name], truth.get(name)) for name in first}

    def draw(number: int) -> dict[str, Comparison]:
        varied = _varied(inputs, number)
        if varied is None:
            return {}
        tell(f"other inputs, draw {number}")
        theirs, mine, (right, _) = sides.host(varied), sides.ours(varied), sides.truth(varied)
        found = {
            name: compare(mine[name], theirs[name], right[name])
            for name in first
            if name in mine and name in theirs and name in right
        }
        return {name: one for name, one in found.items() if one.verdict is not Verdict.INCOMPARABLE}

    found = decided(first, double, draw)
    rows = [
        judge(name, ours.get(name), tensor, found.get(name), double.get(name), why)
        for name, tensor in host.items()
    ]
    rows += [
        OutputVerdict(name, Verdict.INCOMPARABLE, cause="only after the swap")
        for name in ours
        if name not in host
    ]
    return Verification(tuple(rows), not_run)


def judge(
    name: str,
    ours: Tensor | None,
    host: Tensor,
    found: Comparison | None,
    double: Comparison | None = None,
    why: str = "",
) -> OutputVerdict:
    """The row of one output.

    Args:
        name: what it is called.
        ours: after the swap; None where it is missing.
        host: before the swap.
        found: what comparing the two gave, by one draw of the inputs or by several.
        double: what comparing them in float64 gave, None where that was not possible.
        why: why there is no truth.
    """
    if ours is None or found is None:
        return OutputVerdict(name, Verdict.INCOMPARABLE, cause="only before the swap")
    if ours.shape != host.shape or ours.dtype != host.dtype:
        now, then = (f"{tuple(x.shape)} {x.dtype}".replace("torch.", "") for x in (ours, host))
        return OutputVerdict(name, Verdict.INCOMPARABLE, cause=f"{now} after the swap, {then} before")
    if found.verdict is Verdict.EXACT or found.max_abs is None:
        return OutputVerdict(name, found.verdict, cause=found.cause)
    wide = None if double is None else double.ratio
    if not is_inexact(host):
        flipped = int((ours != host).sum())
        same = double is not None and not double.verdict.failed
        cause = f"{flipped} of {host.numel()} elements differ{', though none in float64' if same else ''}"
        return OutputVerdict(name, Verdict.DIVERGED, flipped=flipped, cause=cause, double=wide)
    relative = found.max_abs / (largest(host) or 1.0)
    if found.verdict is Verdict.INCOMPARABLE:  # no truth
        near = relative <= 64 * torch.finfo(host.dtype).eps
        cause = (
            f"by the relative difference: {why}"
            if near
            else f"{UNDECIDED}: by the relative difference: {why}"
        )
        return OutputVerdict(
            name, Verdict.WITHIN if near else Verdict.DIVERGED, relative=relative, cause=cause
        )
    return OutputVerdict(name, found.verdict, found.ratio, relative, 0, found.cause, found.draws, wide)


class _Sides:
    """The model as it was, with the swap, and each of them in float64, on any inputs."""

    def __init__(self, swap: Swap, call: Callable[..., Any]) -> None:
        self._swap, self._call = swap, call
        self.hosts = swap.hosts
        self._right: nn.Module | None = None
        self._drew = False

    def host(self, inputs: tuple[Any, ...], seed: int = 0) -> Outputs:
        """The outputs before the swap."""
        self._swap.undo()
        return self._run(inputs, seed)

    def ours(self, inputs: tuple[Any, ...]) -> Outputs:
        """The outputs after the swap."""
        self._swap.apply()
        return self._run(inputs)

    def truth(self, inputs: tuple[Any, ...]) -> tuple[Outputs, str]:
        """The host's outputs in float64, or none and the reason."""
        model = self._swap.model
        size = 8 * sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
        if size > _LARGEST:
            return {}, f"a copy in float64 would take {size / 2**30:.0f} GiB"
        try:
            if self._right is None:
                self._swap.undo()
                self._right = widened(model)
            found = self._run_wide(self._right, inputs)
        except Exception as error:  # whatever a host does that float64 does not bear
            return {}, f"no run in float64 ({type(error).__name__}: {str(error).splitlines()[0][:80]})"
        if not any(tensor.dtype in (torch.float64, torch.complex128) for tensor in found.values()):
            return {}, "nothing came out in float64"
        return found, ""

    def ours_in_float64(self, inputs: tuple[Any, ...]) -> Outputs:
        """Our outputs in float64, or none."""
        try:
            self._swap.apply()
            return self._run_wide(widened(self._swap.model), inputs)
        except Exception:  # then R alone decides, and the verdict says that float64 was not asked
            return {}

    def refuse_randomness(self, inputs: tuple[Any, ...], first: Outputs) -> None:
        """Raise where a second run of the host, from another random state, gives something else."""
        what = differing(first, self.host(inputs, seed=1), self._drew)
        if not what:
            return
        model = self._swap.model
        training = [path or "(model)" for path, module in model.named_modules() if module.training]
        if differing(first, self.host(inputs), self._drew):
            raise SwapError(
                f"the model keeps state between calls, so that nothing can be held against it: {what}; "
                "give run= that brings it into one state before each call"
            )
        drew = drawing(model.named_modules(), lambda: self.host(inputs))
        raise SwapError(
            f"the model is random, which would hide errors: {what}; in training mode: {_listed(training)}; "
            f"modules that draw random numbers: {_listed(drew)}; set their rates to 0, leave them in evaluation "
            "mode, or give run= that sets the seed before each call"
        )

    def _run(self, inputs: tuple[Any, ...], seed: int = 0) -> Outputs:
        """One call with inputs of its own and the random numbers of a seed."""
        with random_state(seed):
            before = generators()
            result = self._call(self._swap.model, *copy.deepcopy(inputs))
            self._drew |= generators() != before
            return {subscripted(path): tensor.clone() for path, tensor in tensors(result)}

    def _run_wide(self, model: nn.Module, inputs: tuple[Any, ...]) -> Outputs:
        given = tree_map(widen, copy.deepcopy(inputs))
        with random_state(0), lifted():
            result = self._call(model, *given)
            return {subscripted(path): tensor.clone() for path, tensor in tensors(result)}


def _varied(inputs: tuple[Any, ...], number: int) -> tuple[Any, ...] | None:
    """Floating-point tensors and arrays, x · (1 + u / 8) by place and draw; None where there are none."""
    values, structure = tree_flatten(inputs)
    changed = [_vary(value, f"draw{number}:{place}") for place, value in enumerate(values)]
    if all(new is old for new, old in zip(changed, values, strict=True)):
        return None
    varied: tuple[Any, ...] = tree_unflatten(changed, structure)
    return varied


def _vary(value: Any, name: str) -> Any:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return vary(torch.from_numpy(np.ascontiguousarray(value)), name).numpy()
    return vary(value, name) if isinstance(value, Tensor) else value


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more if names else "none"


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """No dropout meanwhile; every flag as it was afterwards."""
    flags = [(module, module.training) for module in model.modules()]
    for module, _ in flags:
        module.training = False
    try:
        yield
    finally:
        for module, training in flags:
            module.training = training
