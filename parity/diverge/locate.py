"""Which module makes the error: each of ours is judged on the very input that upstream's module was recorded with.

The error that a module introduces is told from the one that it inherits. Where a module fails and none of the calls
made in it does, it is the culprit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from parity.diverge.align import attributes, canonical_paths, differing
from parity.diverge.replay import UnbindableError, replay
from parity.diverge.semantics import semantic
from parity.diverge.steps import Sides, step_of
from parity.diverge.store import OpaqueError, Store
from parity.diverge.taps import Call, call_name
from parity.diverge.upstream import Reference, Trace, digests
from parity.execution.execute import flatten
from samblocks.numerics.draws import decided
from samblocks.numerics.verdict import (
    SEVERITY,
    Comparison,
    Verdict,
    compare,
    compare_double,
    equal,
    error,
    is_inexact,
    rms,
)

DOUBLE = 1e-10
"""Largest relative difference in float64 of a module that computes the same."""


@dataclass(frozen=True)
class Tap:
    """One call of one module, ours beside upstream's.

    Attributes:
        index: position in upstream's order of calls.
        parent: index of the call that it was made in.
        name: canonical path of the module, with its method where that is not `forward`.
        occurrence: how many calls of the same went before.
        output: the output with the worst figures.
        point: semantic name of that output, if it has one.
        introduced: verdict on our module with upstream's input.
        total: R of the same output in the free run; None where it cannot be had.
    """

    index: int
    parent: int | None
    name: str
    occurrence: int
    output: str
    point: str
    introduced: Comparison
    total: float | None

    @property
    def failed(self) -> bool:
        """Whether the module itself makes an error."""
        return self.introduced.verdict.failed


@dataclass(frozen=True)
class Culprit:
    """A failing module in which no part fails.

    Attributes:
        tap: its figures.
        step: between which of its parts the error arises, as far as taps can tell.
        settings: settings of the module, and of those around it, that differ.
        tensors: its parameters and buffers whose values differ.
    """

    tap: Tap
    step: str
    settings: tuple[str, ...]
    tensors: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What a comparison found.

    Attributes:
        taps: every replayed call, in upstream's order.
        culprits: in the order in which they are first called; none where everything holds.
        skipped: names of modules that could not be replayed, with the reason.
        only_ours, only_theirs: modules without a counterpart.
        settings: every setting that differs, by module.
        tensors: every parameter and buffer whose values differ, or that one side lacks.
        note: why there are no totals, where there are none.
    """

    taps: tuple[Tap, ...]
    culprits: tuple[Culprit, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    only_ours: tuple[str, ...] = ()
    only_theirs: tuple[str, ...] = ()
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tensors: tuple[str, ...] = ()
    note: str = ""
    bound: float = 2.0

    def __bool__(self) -> bool:
        return bool(self.taps) and not self.culprits


class Comparer:
    """Our model against upstream's trace."""

    def __init__(
        self,
        ours: nn.Module,
        wide: Callable[[], nn.Module],
        own: Trace | None,
        theirs: Trace,
        store: Store,
        reference: Reference,
        *,
        bound: float = 2.0,
        note: str = "",
    ) -> None:
        """Take both sides.

        Args:
            ours: our model, in its working precision.
            wide: makes the same in float64.
            own: our free run; None if it raised.
            theirs: upstream's trace.
            store: where the values of both are.
            reference: the side that was recorded.
            bound: largest R that holds.
            note: why there is no free run.
        """
        self._ours, self._make_wide, self._own, self._theirs = ours, wide, own, theirs
        self._store, self._reference, self._bound, self._note = store, reference, bound, note
        self._paths = {name: path for path, name in reversed(canonical_paths(ours, str).items())}
        parts = theirs.parts
        self._names = _unshared({path: part.canonical for path, part in parts.items()})
        modules = {name: ours.get_submodule(path) for name, path in self._paths.items()}
        self._sides = Sides(theirs, modules, store, reference.within, bound)
        self._wide: nn.Module | None = None
        self._totals: dict[int, dict[str, float]] = {}

    def report(self) -> Report:
        """Replay everything, then look into what failed."""
        taps: list[Tap] = []
        skipped: dict[str, str] = {}
        self._find_totals()
        for call in self._theirs.calls:
            found = self._replayed(call)
            if isinstance(found, Tap) and self._only_unlike(call, found):
                found = f"called otherwise there: {found.introduced.cause}"
            if isinstance(found, str):
                skipped.setdefault(self._name(call), found)
            else:
                taps.append(found)
        own_names, their_names = set(self._paths), set(self._names.values())
        settings = {name: phrases for name in self._paths if (phrases := self._differing(name))}
        culprits = [self._culprit(tap) for tap in innermost(taps)]
        return Report(
            tuple(taps),
            tuple(culprits),
            skipped,
            tuple(sorted(own_names - their_names)),
            tuple(sorted(their_names - own_names)),
            settings,
            tuple(self._unequal_tensors()),
            self._note,
            self._bound,
        )

    def _find_totals(self) -> None:
        """R of our free run, where both sides have one."""
        if self._own is None:
            return
        own = {(call.path, call.method, call.occurrence): call for call in self._own.calls}
        results = {}
        for call in self._theirs.calls:
            path = self._paths.get(self._names[call.path], "")
            mine = own.get((path, call.method, call.occurrence))
            if mine is not None and mine.result is not None:
                results[call.index] = mine.result
        self._totals, self._note = self._reference.totals(results)

    def _only_unlike(self, call: Call, tap: Tap) -> bool:
        """A part of a tree with other names is also called otherwise, which is no mistake of ours."""
        renamed = call.path != self._names[call.path]
        return renamed and tap.introduced.verdict is Verdict.INCOMPARABLE

    def _name(self, call: Call) -> str:
        return call_name(self._names[call.path], call.method)

    def _module(self, call: Call) -> nn.Module | None:
        return self._sides.modules.get(self._names[call.path])

    def _replayed(self, call: Call) -> Tap | str:
        module = self._module(call)
        if module is None:
            return "ours has no such module"
        if call.result is None:
            return "the call did not end"
        theirs = self._store.tensors(call.result)
        try:
            with torch.no_grad():
                ours = _named_like(theirs, replay(module, call, self._store))
        except (UnbindableError, OpaqueError) as error:
            return str(error)
        except Exception as error:  # raising on what upstream accepts is a finding
            failure = Comparison(Verdict.INCOMPARABLE, cause=f"ours raised {type(error).__name__}: {error}")
            return self._tap(call, "out", failure)
        if not set(ours) & set(theirs):
            return "the two return nothing in common" if theirs else "it returns no tensors"
        shared = [path for path in theirs if path in ours]
        results = {path: Comparison(Verdict.EXACT, max_abs=0.0) for path in shared}
        if not all(_same_bits(ours[path], theirs[path]) for path in shared):
            # Equal bits need no truth to judge them by.
            tree, note = self._reference.truth(call.index)
            if tree is None:
                return note
            truth = self._store.tensors(tree)
            first = {
                path: compare(ours[path], theirs[path], truth.get(path), bound=self._bound)
                for path in shared
                if not _same_bits(ours[path], theirs[path])
            }
            double = self._in_float64(call, {path: truth[path] for path in first if path in truth})
            results |= decided(
                first,
                double,
                lambda number: self._drawn(module, call, number),
                dict.fromkeys(first, self._bound),
            )
        worst = min(shared, key=lambda path: _badness(results[path]))
        return self._tap(call, worst, results[worst])

    def _in_float64(self, call: Call, truth: Mapping[str, torch.Tensor]) -> dict[str, Comparison]:
        """Our module in float64 against the truth, on the recorded arguments; empty where it cannot run so."""
        try:
            if self._wide is None:
                self._wide = self._make_wide()
            module = self._wide.get_submodule(self._paths[self._names[call.path]])
            with torch.no_grad():
                ours = _named_like(truth, replay(module, call, self._store, wide=True))
        except Exception:  # then the working precision alone decides, and the verdict says so
            return {}
        return {
            path: compare_double(ours[path], value, bound=DOUBLE)
            for path, value in truth.items()
            if path in ours
        }

    def _drawn(self, module: nn.Module, call: Call, number: int) -> dict[str, Comparison]:
        """Both modules on the recorded arguments, varied; empty where that is not possible."""
        found = self._reference.draw(call.index, number)
        if found is None:
            return {}
        assert found.call.result is not None
        theirs, truth, other = map(self._store.tensors, (found.call.result, found.truth, found.other))
        with torch.no_grad():
            ours = _named_like(theirs, replay(module, found.call, self._store))
        results = {
            path: compare(
                ours[path],
                theirs[path],
                truth.get(path),
                bound=self._bound,
                honest=_relative(other.get(path), truth.get(path)),
            )
            for path in theirs
            if path in ours
        }
        return {
            path: result for path, result in results.items() if result.verdict is not Verdict.INCOMPARABLE
        }

    def _tap(self, call: Call, output: str, introduced: Comparison) -> Tap:
        name = self._name(call)
        return Tap(
            call.index,
            call.parent,
            name,
            call.occurrence,
            output,
            semantic(name, output),
            introduced,
            self._totals.get(call.index, {}).get(output),
        )

    def _culprit(self, tap: Tap) -> Culprit:
        call = self._theirs.calls[tap.index]
        path = self._names[call.path]
        step = self._step(call)
        around = [path]
        parent = tap.parent
        while parent is not None:
            around.append(self._names[self._theirs.calls[parent].path])
            parent = self._theirs.calls[parent].parent
        settings = [
            f"{phrase}" if name == path else f"{phrase} (of {name or 'the model'})"
            for name in dict.fromkeys(around)
            for phrase in self._differing(name)
        ]
        below = f"{path}." if path else ""
        tensors = [line for line in self._unequal_tensors() if line.startswith(below)]
        return Culprit(tap, step, tuple(settings), tuple(tensors))

    def _step(self, call: Call) -> str:
        """Where in the module, without fast paths, which call projections late, in chunks or not at all."""
        # Here, for workers import this package too, and have no more of samblocks than its numerics.
        from samblocks.ops.fast_path import plain_paths

        module = self._module(call)
        assert module is not None
        if not any(type(part).__module__.startswith("samblocks.") for part in module.modules()):
            return step_of(call, self._sides)
        with plain_paths():
            again = self._replayed(call)
            if isinstance(again, Tap) and not again.failed:
                return "on a fast path alone: under samblocks.plain_paths() it holds"
            return step_of(call, self._sides)

    def _differing(self, name: str) -> tuple[str, ...]:
        theirs = next((part for part in self._theirs.parts.values() if part.canonical == name), None)
        if theirs is None or name not in self._paths:
            return ()
        return tuple(differing(attributes(self._sides.modules[name]), theirs.attributes))

    def _unequal_tensors(self) -> list[str]:
        ours, theirs = digests(self._ours), self._theirs.tensors
        found = []
        for name in dict.fromkeys([*theirs, *ours]):
            if name not in ours or name not in theirs:
                found.append(f"{name}: only {'upstream' if name in theirs else 'ours'} has it")
            elif ours[name] != theirs[name]:
                found.append(f"{name}: the values differ")
        return found


def _named_like(theirs: Mapping[str, torch.Tensor], result: object) -> dict[str, torch.Tensor]:
    """Our outputs by path; what we return alone, upstream may return with more behind it, as weights of attention."""
    ours = dict(flatten(result))
    first = set(ours) == {"out"} and "out" not in theirs and "0" in theirs
    return {"0": ours["out"]} if first else ours


def _unshared(names: dict[str, str]) -> dict[str, str]:
    """Names of modules; one that wraps another and has nothing beside it keeps the name, the inner one gets its own."""
    outermost: dict[str, str] = {}
    for path, name in names.items():
        outermost.setdefault(name, path)
    return {
        path: name if outermost[name] == path or not _inside(path, outermost[name]) else path
        for path, name in names.items()
    }


def _inside(path: str, other: str) -> bool:
    return path.startswith(f"{other}.") if other else True


def innermost(taps: list[Tap]) -> list[Tap]:
    """The failing calls in which no recorded call fails."""
    parents = {tap.index: tap.parent for tap in taps}
    blamed: set[int] = set()
    for tap in taps:
        parent = tap.parent if tap.failed else None
        while parent is not None:
            blamed.add(parent)
            parent = parents.get(parent)
    return [tap for tap in taps if tap.failed and tap.index not in blamed]


def _badness(result: Comparison) -> tuple[int, float]:
    return -SEVERITY.index(result.verdict), -(result.ratio or 0.0)


def _relative(output: torch.Tensor | None, truth: torch.Tensor | None) -> float:
    """How far an output is from the truth, as a part of it; 0 where there is none."""
    if output is None or truth is None or output.shape != truth.shape or not is_inexact(output):
        return 0.0
    size = rms(truth)
    return error(output, truth).rms / size if size > 0 else 0.0


def _same_bits(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return ours.shape == theirs.shape and ours.dtype == theirs.dtype and equal(ours, theirs)
