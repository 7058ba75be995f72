"""Compare any two torch callables: yours and the one it must equal. The front door for other projects.

import parity

result = parity.check(candidate, reference, (x,))
assert result, result
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from parity.errors import UsageError
from parity.testing.call import STATE, Ask, Outcome, run
from parity.testing.draws import Sides, another, drawn_inputs, filled, joined, numbers, pooled
from parity.testing.judge import Finding, Result, first_alarms, is_another, judge, result
from parity.testing.reach import Function
from parity.testing.repeat import FIRST, First, first_run, fresh
from parity.testing.rounding import explained, names_of, own
from parity.testing.sight import unseen
from parity.testing.values import Inputs
from parity.testing.wide import Truth, Wide, candidate_run, drew_alike, given_truth, truth_run
from parity.verdict.compare import Comparison, Verdict
from samblocks.numerics.draws import settle
from samblocks.numerics.verdict import BOUND

Progress = Callable[[str], None]


@dataclass(frozen=True)
class How:
    """How a check judges; see `check`."""

    ask: Ask
    build: Callable[[], nn.Module] | None = None
    bound: float = BOUND
    exact: bool = False
    error_map: bool = False
    fill: bool = False
    truth: Truth | None = None
    strict_sight: bool = False
    progress: Progress = lambda _: None

    @property
    def varies(self) -> bool:
        """Whether further draws can have a truth: outputs that were given belong to one input alone."""
        return self.truth is None or (callable(self.truth) and not isinstance(self.truth, Tensor))


def check(
    candidate: Function,
    reference: Function,
    inputs: Inputs | Callable[[int], Inputs],
    *,
    build: Callable[[], nn.Module] | None = None,
    bound: float = BOUND,
    exact: bool = False,
    gradients: bool | str = False,
    error_map: bool = False,
    seed: int | None = None,
    fill: bool = False,
    truth: Truth | None = None,
    strict_sight: bool = False,
    progress: Progress | None = None,
    heat: bool | None = None,
) -> Result:
    """Hold a candidate against a reference, both judged by the reference in float64.

    Both run on copies, of their weights too. The same function is it if the candidate in float64 is within 1e-12 of
    the truth; as precise if R is at most `bound`, in one draw or over several: see `samblocks.numerics.draws`.

    Args:
        candidate: the code under test, usually a module in evaluation mode; a bound method, a partial, a lambda or a
            closure around modules will do as well.
        reference: what it must equal, with the same weights.
        inputs: one value (a tensor, an array, a number, a dataclass, a named tuple), a list or tuple of positional
            arguments, or a dict of keyword arguments. Neither side may change them. A function of the draw's number
            (0, 1, …) gives other inputs where more must be drawn; otherwise draw k is x · (1 + u / 8), u uniform in
            [−1, 1].
        build: makes the reference anew. Needed where converting a module to float64 is not enough, because it
            keeps narrow tables of its own: it is then constructed in float64 and given the reference's weights.
        bound: largest R that holds.
        exact: demand equal bits.
        gradients: also compare the gradients of the inputs; "all": those of the parameters, by name, too.
        error_map: keep with each comparison where the difference sits.
        seed: start every run from this seed. Without it a side that draws random numbers is refused.
        fill: run both sides with weights that follow from the names of their tensors, redrawn in each draw.
        truth: where the reference has no float64: a callable that computes the outputs in float64, or the outputs.
        strict_sight: fail where something could not be seen, such as a table of zeros.
        progress: told what is run next.
        heat: the former name of `error_map`.

    Returns:
        The result; it is true if everything held.

    Raises:
        UsageError: when a side is not the same in every run; when no float64 truth can be had; when inputs or outputs
            are nothing that can be compared. It says what to do.
    """
    if gradients not in (False, True, "all"):
        raise UsageError(f"gradients is {gradients!r}; give False, True or 'all'")
    if heat is not None:
        warnings.warn("heat= is error_map= now", DeprecationWarning, stacklevel=2)
        error_map = heat
    ask = Ask(gradients, seed)
    how = How(ask, build, bound, exact, error_map, fill, truth, strict_sight, progress or (lambda _: None))
    return _Check(Sides(candidate, reference, inputs), how).result()


class _Check:
    def __init__(self, sides: Sides, how: How) -> None:
        self._how = how
        self._first = replace(sides, inputs=drawn_inputs(sides.inputs, 0))
        self._sides = sides
        if how.fill:
            self._first = filled(self._first, 0)

    def result(self) -> Result:
        how, (candidate, reference, inputs) = self._how, self._first.parts
        how.progress("the reference, three times")
        theirs = first_run("reference", reference, inputs, how.ask)
        how.progress("the candidate, three times")
        ours = first_run("candidate", candidate, inputs, how.ask)
        _need_slopes(theirs, how.ask)
        truth, double = self._wide(theirs) if not how.exact else (Wide({}), Wide({}))
        outputs, others, moved = _with_state(ours.outcome, theirs.outcome)
        judged = partial(
            judge,
            outputs,
            others,
            truth.outputs,
            double=None if double.why_not else double.outputs,
            bound=how.bound,
            exact=how.exact,
            changed=ours.outcome.changed,
            error_map=how.error_map,
        )
        found, notes = judged(), [truth.note]
        if any(is_another(finding) for finding in found.findings) and how.truth is None:
            how.progress("whether rounding of weights explains it")
            mine = own(candidate, reference)
            theirs_alone = own(reference, candidate) if how.build is None else {}
            both = [(candidate, double.outputs, mine), (reference, truth.outputs, theirs_alone)]
            again = judged(rounding=explained(both, inputs, how.ask))
            if sum(map(is_another, again.findings)) < sum(map(is_another, found.findings)):
                found = again
                names = names_of([*mine, *theirs_alone])
                notes.append(
                    f"in float64 they differ, by no more than the rounding of {names}, which one side holds alone"
                )
        if double.why_not:
            notes.append(f"the candidate was not compared in float64, where it raises {double.why_not}")
        findings = self._decided(found, outputs)
        if unlike := _unlike_weights(candidate, reference) if any(map(is_another, findings)) else []:
            notes.append(
                f"{names_of(unlike)}: tensors of one name and shape differ between the sides; let one load_state_dict "
                "of the other, or pass fill=True"
            )
        how.progress("what cannot be seen")
        return result(
            findings,
            unseen=(*unseen(reference, inputs, how.ask, theirs), *moved),
            notes=tuple(note for note in notes if note),
            strict=how.strict_sight,
        )

    def _wide(self, theirs: First) -> tuple[Wide, Wide]:
        """The truth and the candidate in float64."""
        how, (candidate, reference, inputs) = self._how, self._first.parts
        how.progress("float64")
        truth = truth_by(reference, inputs, how)
        if how.ask.seed is not None and not drew_alike(theirs.outcome.outputs, truth.outputs):
            raise UsageError(
                f"with seed={how.ask.seed} the reference draws other random numbers in float64 than in its working "
                "precision, so that no truth can be had; switch the randomness off, or pass truth="
            )
        return truth, candidate_run(candidate, inputs, how.ask)

    def _decided(self, found: Result, outputs: Mapping[str, Tensor]) -> list[Finding]:
        """The findings, with first alarms decided by further draws, or by float64 where nothing varies."""
        alarms = first_alarms(found, self._how.bound)
        if not alarms:
            return list(found.findings)
        draw = partial(self._draw, list(alarms), pooled(outputs[name].shape for name in alarms))
        bounds = dict.fromkeys(alarms, self._how.bound)
        same = [finding.output for finding in found.findings if finding.double is not None]
        settled = settle(alarms, draw, bounds, same)
        return [
            replace(finding, comparison=settled.get(finding.output, finding.comparison))
            for finding in found.findings
        ]

    def _draw(self, outputs: list[str], count: int, draw: int) -> dict[str, Comparison]:
        """The comparisons of some outputs in a further draw; none where nothing can be varied."""
        how = self._how
        ours, theirs, truths = [], [], []
        for number in numbers(draw, count) if how.varies else ():
            drawn = another(self._sides, number, fill=how.fill)
            if drawn is None:
                return {}
            how.progress(f"draw {draw}")
            candidate, reference, inputs = drawn.parts
            try:
                upstream = run(fresh(reference), inputs, how.ask, FIRST)
                truths.append(truth_by(reference, inputs, how).outputs)
            except Exception:  # the reference does not take these values: then nothing can be varied
                return {}
            try:
                mine = run(fresh(candidate), inputs, how.ask, FIRST)
            except Exception as failure:  # the reference took them
                cause = f"the candidate raised {type(failure).__name__}: {failure}"
                return dict.fromkeys(outputs, Comparison(Verdict.DIVERGED, cause=cause))
            both = _with_state(mine, upstream)
            ours.append(both[0])
            theirs.append(both[1])
        if not ours:
            return {}
        found = judge(joined(ours), joined(theirs), joined(truths), bound=how.bound)
        return {
            finding.output: finding.comparison
            for finding in found.findings
            if finding.output in outputs and finding.comparison.verdict is not Verdict.INCOMPARABLE
        }


def truth_by(reference: Function, inputs: Inputs, how: How) -> Wide:
    """The truth that was given, else the reference in float64; raises UsageError where that cannot be had."""
    if how.truth is not None:
        return given_truth(how.truth, inputs)
    return truth_run(reference, inputs, how.ask, build=how.build)


def _with_state(ours: Outcome, theirs: Outcome) -> tuple[dict[str, Tensor], dict[str, Tensor], list[str]]:
    """Outputs with the buffers that the call changed on both sides, and sentences on those of one side alone."""
    both = [name for name in theirs.moved if name in ours.moved]
    alone = [name for name in (*theirs.moved, *ours.moved) if name not in both]
    mine, others = (
        dict(side.outputs) | {f"{STATE}{name}": side.moved[name] for name in both} for side in (ours, theirs)
    )
    notes = (
        [f"{', '.join(alone[:6])} {'move' if len(alone) > 1 else 'moves'} on one side alone"] if alone else []
    )
    return mine, others, notes


def _unlike_weights(candidate: Function, reference: Function) -> list[str]:
    """Names of tensors that two modules share, of one shape and with other values: a forgotten copy."""
    if not (isinstance(candidate, nn.Module) and isinstance(reference, nn.Module)):
        return []
    ours, theirs = candidate.state_dict(), reference.state_dict()
    return [
        name
        for name, value in theirs.items()
        if name in ours and ours[name].shape == value.shape and not torch.equal(ours[name].to(value), value)
    ]


def _need_slopes(theirs: First, ask: Ask) -> None:
    slopes = [value for name, value in theirs.outcome.outputs.items() if name.startswith("gradient")]
    if ask.gradients and not any(bool((slope != 0).any()) for slope in slopes):
        raise UsageError(
            f"gradients={ask.gradients!r}: no output of the reference depends on its inputs in a differentiable way"
        )


def outputs_of(
    function: Function, inputs: Inputs, gradients: bool | str = False
) -> tuple[dict[str, Tensor], bool]:
    """Outputs by path on a copy of the inputs, and whether the function changed that copy."""
    outcome = run(fresh(function), inputs, Ask(gradients), FIRST)
    return outcome.outputs, outcome.changed


def truth_of(
    reference: Function,
    inputs: Inputs,
    build: Callable[[], nn.Module] | None = None,
    gradients: bool | str = False,
) -> dict[str, Tensor]:
    """The reference's outputs in float64 throughout; raises UsageError where that cannot be had."""
    return truth_run(reference, inputs, Ask(gradients), build=build).outputs
