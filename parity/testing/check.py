"""Compare any two torch callables: yours and the one it must equal. The front door for other projects.

import parity

result = parity.check(candidate, reference, (x,))
assert result, result
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from parity.errors import UsageError
from parity.execution import fill
from parity.execution.execute import flatten
from parity.verdict.compare import Comparison, Verdict, compare
from parity.verdict.error_map import grid
from samblocks.numerics.float64 import LeakError, lifted

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """The comparison of one output."""

    output: str
    comparison: Comparison

    def __str__(self) -> str:
        figures = [] if self.comparison.ratio is None else [f"R {self.comparison.ratio:.3g}"]
        if self.comparison.max_abs:
            figures.append(f"max |Δ| {self.comparison.max_abs:.3g} at {list(self.comparison.index or ())}")
        return ", ".join([f"{self.comparison.verdict} {self.output}", *figures]) + (
            f": {self.comparison.cause}" if self.comparison.cause else ""
        )


@dataclass(frozen=True)
class Result:
    """What a check found; true if everything held, and its text says what did not.

    Attributes:
        findings: one for each output, worst first.
    """

    findings: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return bool(self.findings) and not any(f.comparison.verdict.failed for f in self.findings)

    def __str__(self) -> str:
        return "\n".join(str(finding) for finding in self.findings) or "nothing was compared"

    @property
    def worst(self) -> Finding:
        """The finding to look at first."""
        return self.findings[0]


def check(
    candidate: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Inputs,
    *,
    build: Callable[[], nn.Module] | None = None,
    bound: float = 2.0,
    exact: bool = False,
    gradients: bool = False,
    heat: bool = False,
) -> Result:
    """Hold a candidate against a reference, both judged by the reference in float64.

    Args:
        candidate: the code under test, usually a module in evaluation mode.
        reference: what it must equal, with the same weights.
        inputs: one tensor, positional arguments, or keyword arguments. Neither side may change them.
        build: makes the reference anew. Needed where converting a module to float64 is not enough, because it
            keeps narrow tables of its own: it is then constructed in float64 and given the reference's weights.
        bound: largest R that holds.
        exact: demand equal bits.
        gradients: also compare the gradients of the inputs.
        heat: keep with each comparison where the difference sits.

    Returns:
        The result; it is true if everything held.

    Raises:
        UsageError: when no float64 truth can be had, saying what to do; when an input is not a tensor.
    """
    ours, changed = outputs_of(candidate, inputs, gradients)
    theirs, _ = outputs_of(reference, inputs, gradients)
    truth = {} if exact else truth_of(reference, inputs, build, gradients)
    return judge(ours, theirs, truth, bound=bound, exact=exact, changed=changed, heat=heat)


def judge(
    ours: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    truth: Mapping[str, Tensor],
    *,
    bound: float = 2.0,
    exact: bool = False,
    changed: bool = False,
    heat: bool = False,
) -> Result:
    """The result for outputs that are there already; `changed` tells that the candidate changed its input."""
    findings = [
        Finding(name, _one(ours.get(name), theirs.get(name), truth.get(name), bound, exact, heat))
        for name in dict.fromkeys([*theirs, *ours])
    ]
    if changed:
        findings.append(
            Finding("inputs", Comparison(Verdict.DIVERGED, cause="the candidate changed its input"))
        )
    return Result(tuple(sorted(findings, key=_badness)))


def _one(
    ours: Tensor | None, theirs: Tensor | None, truth: Tensor | None, bound: float, exact: bool, heat: bool
) -> Comparison:
    if ours is None or theirs is None:
        missing = "the candidate" if ours is None else "the reference"
        return Comparison(Verdict.INCOMPARABLE, cause=f"{missing} has no such output")
    found = compare(ours, theirs, truth, bound=bound, exact=exact)
    return replace(found, heat=grid(ours, theirs)) if heat else found


def outputs_of(
    function: Callable[..., Any], inputs: Inputs, gradients: bool = False
) -> tuple[dict[str, Tensor], bool]:
    """Outputs by path on a copy of the inputs, and whether the function changed that copy."""
    given = _copies(inputs)
    outputs = _call(function, given, gradients)
    return outputs, not _same(inputs, given)


def _call(function: Callable[..., Any], given: Inputs, gradients: bool) -> dict[str, Tensor]:
    leaves = [leaf for _, leaf in _tensors(given) if leaf.is_floating_point()]
    with torch.set_grad_enabled(gradients):
        if gradients:
            for leaf in leaves:
                leaf.requires_grad_(True)
        # A change in place of a leaf that needs a gradient would raise: the function gets what hangs on it.
        passed = tree_map(
            lambda value: value + 0 if isinstance(value, Tensor) and value.requires_grad else value, given
        )
        outputs = dict(flatten(_apply(function, passed)))
    if gradients:
        noise = {name: _noise(name, value) for name, value in outputs.items() if value.requires_grad}
        total = sum((outputs[name] * noise[name]).sum() for name in noise)
        if not isinstance(total, Tensor):
            raise UsageError("gradients=True: no output depends on the inputs in a differentiable way")
        slopes = torch.autograd.grad(total, leaves, allow_unused=True)
        outputs |= {
            f"gradient/{position}": slope for position, slope in enumerate(slopes) if slope is not None
        }
    return {name: value.detach() for name, value in outputs.items()}


def _noise(name: str, like: Tensor) -> Tensor:
    return fill.widened(f"gradient of {name}", like.shape).to(like.dtype).to(like.device)


def truth_of(
    reference: Callable[..., Any],
    inputs: Inputs,
    build: Callable[[], nn.Module] | None = None,
    gradients: bool = False,
) -> dict[str, Tensor]:
    """The reference's outputs in float64 throughout; raises UsageError where that cannot be had."""
    wide = reference
    if build is None and isinstance(reference, nn.Module):
        wide = copy.deepcopy(reference).double()
    given = tree_map(
        lambda value: value.double() if isinstance(value, Tensor) and value.is_floating_point() else value,
        _copies(inputs),
    )
    weights = copy.deepcopy(reference).double().state_dict() if isinstance(reference, nn.Module) else {}
    try:
        with lifted():
            if build is not None:
                made = build()
                made.load_state_dict(weights)
                wide = made.train(getattr(reference, "training", False))
            return _call(wide, given, gradients)
    except LeakError as leak:
        raise UsageError(
            f"the reference does not run in float64 throughout ({leak}); pass build=, a function that makes "
            "it anew, so that its tables are made in float64 too"
        ) from None


def _apply(function: Callable[..., Any], given: Inputs) -> Any:
    if isinstance(given, Tensor):
        return function(given)
    if isinstance(given, Mapping):
        return function(**given)
    return function(*given)


def _copies(inputs: Inputs) -> Any:
    return tree_map(lambda value: value.detach().clone() if isinstance(value, Tensor) else value, inputs)


def _tensors(inputs: Inputs) -> list[tuple[str, Tensor]]:
    found: list[tuple[str, Tensor]] = []
    tree_map(lambda value: found.append(("", value)) if isinstance(value, Tensor) else None, inputs)
    return found


def _same(before: Inputs, after: Inputs) -> bool:
    pairs = zip(_tensors(before), _tensors(after), strict=True)
    return all(torch.equal(a, b) for (_, a), (_, b) in pairs)


def _badness(finding: Finding) -> tuple[bool, float]:
    return not finding.comparison.verdict.failed, -(finding.comparison.ratio or 0.0)
