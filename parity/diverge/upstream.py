"""The side that is taken to be right: recorded in its working precision, and judged by its float64 self.

The same code runs in a worker, on upstream's modules, and in this process, on any two torch modules.
"""

import copy
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import nn

from parity.diverge.align import Canonical, attributes, canonical_paths
from parity.diverge.replay import UnbindableError, replay
from parity.diverge.store import OpaqueError, Store, Tree, digest
from parity.diverge.taps import Call, tapped
from samblocks.numerics.float64 import lifted
from samblocks.numerics.nested import slashed, tensors
from samblocks.numerics.verdict import Verdict, compare


@dataclass(frozen=True)
class Drawn:
    """One call on varied arguments.

    Attributes:
        call: with its arguments and its result.
        truth: the result in float64.
        other: the result with weights and maps in memory with their channels last: sums are in another order there.
    """

    call: Call
    truth: Tree
    other: Tree

    def as_json(self) -> dict[str, Any]:
        """Plain data; see `from_json`."""
        return {**vars(self), "call": self.call.as_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Drawn":
        """One of them from its plain data."""
        return cls(**{**data, "call": Call.from_json(data["call"])})


class Reference(Protocol):
    """A side that is right and was recorded, in this process or in another; `Upstream` says what each gives."""

    def totals(self, ours: Mapping[int, Tree]) -> tuple[dict[int, dict[str, float]], str]:
        """R of our free run's outputs."""
        ...

    def truth(self, index: int) -> tuple[Tree | None, str]:
        """The result of a call in float64."""
        ...

    def draw(self, index: int, number: int) -> Drawn | None:
        """A call on varied arguments."""
        ...

    def within(self, index: int) -> list[Call]:
        """A call in float64, with the calls made in it."""
        ...


Run = Callable[[nn.Module, torch.dtype], object]
"""Runs a model on the inputs, which it converts to the given dtype."""


@dataclass(frozen=True)
class Part:
    """What is known of one module: its class, its path in Meta's layout and its settings."""

    kind: str
    canonical: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Trace:
    """A recorded run.

    Attributes:
        calls: every call, in the order in which they began.
        parts: every module by its own path.
        tensors: canonical name of each parameter and buffer → its shape and a hash of its values.
    """

    calls: list[Call]
    parts: dict[str, Part]
    tensors: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain data; see `from_json`."""
        return {
            "calls": [call.as_json() for call in self.calls],
            "parts": {path: vars(part) for path, part in self.parts.items()},
            "tensors": self.tensors,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Trace":
        """A trace from its plain data."""
        return cls(
            [Call.from_json(call) for call in data["calls"]],
            {path: Part(**part) for path, part in data["parts"].items()},
            data["tensors"],
        )


class Upstream:
    """A reference in two copies: one in float32, one made for float64."""

    def __init__(
        self,
        narrow: nn.Module,
        wide: nn.Module,
        run: Run,
        store: Store,
        canonical: Canonical = str,
    ) -> None:
        """Take the reference.

        Args:
            narrow: in its working precision.
            wide: the same, made in float64.
            run: how both are run.
            store: where the recorded values go.
            canonical: the name in Meta's layout of a tensor of its state dict.
        """
        self._narrow, self._wide, self._run, self._store = narrow, wide, run, store
        self._canonical = canonical
        self._calls: list[Call] = []

    def trace(self) -> Trace:
        """Run once in the working precision, every call recorded."""
        trace = recorded(self._narrow, self._run, self._store, self._canonical)
        self._calls = trace.calls
        return trace

    def totals(self, ours: Mapping[int, Tree]) -> tuple[dict[int, dict[str, float]], str]:
        """R of our free run's outputs, and why there is none.

        Float64's outputs of the whole run are compared as they come, for together they may fill the disk.
        """
        places = {(call.path, call.method, call.occurrence): call for call in self._calls}
        found: dict[int, dict[str, float]] = {}

        def ended(call: Call, result: Any) -> None:
            narrow = places.get((call.path, call.method, call.occurrence))
            if narrow is not None and narrow.result is not None and narrow.index in ours:
                mine, theirs = ours[narrow.index], narrow.result
                found[narrow.index] = outside.submit(self._ratios, mine, theirs, result).result()

        try:
            with (
                ThreadPoolExecutor(1) as outside,  # another thread, for in this one float32 is float64
                lifted(),
                torch.no_grad(),
                tapped(self._wide, self._store.encode, arguments=False, ended=ended),
            ):
                self._run(self._wide, torch.float64)
        except Exception as error:  # whatever it is, each call is still judged on its own
            return {}, f"{type(error).__name__}: {error}"
        return found, ""

    def truth(self, index: int) -> tuple[Tree | None, str]:
        """What the call with this index gives in float64 on the arguments that were recorded, or why there is none."""
        return self._truth(self._calls[index])

    def draw(self, index: int, number: int) -> Drawn | None:
        """The call on varied arguments; None where nothing varies or it raises."""
        call = self._calls[index]
        arguments = [
            replace(argument, value=self._store.vary(argument.value, f"draw{number}:{place}"))
            for place, argument in enumerate(call.arguments)
        ]
        if arguments == call.arguments:
            return None
        varied = replace(call, arguments=arguments)
        part = self._narrow.get_submodule(call.path)
        try:
            with torch.no_grad():
                result = self._store.encode(replay(part, varied, self._store))
                other = self._store.encode(_replay_channels_last(part, varied, self._store))
        except Exception:  # not every module takes other values
            return None
        truth, _ = self._truth(varied)
        return None if truth is None else Drawn(replace(varied, result=result), truth, other)

    def within(self, index: int) -> list[Call]:
        """The call with this index again, in float64, with the calls made in it."""
        call = self._calls[index]
        part = self._wide.get_submodule(call.path)
        with tapped(part, self._store.encode) as calls, torch.no_grad():
            replay(part, call, self._store, wide=True)
        return calls

    def _ratios(self, ours: Tree, theirs: Tree, right: Any) -> dict[str, float]:
        if ours == theirs:
            return dict.fromkeys(self._store.paths(theirs), 0.0)
        mine, narrow = self._store.tensors(ours), self._store.tensors(theirs)
        truth = {slashed(path): value for path, value in tensors(right)}
        ratios = {}
        for path in mine.keys() & narrow.keys() & truth.keys():
            found = compare(mine[path], narrow[path], truth[path])
            ratio = 0.0 if found.verdict is Verdict.EXACT else found.ratio
            if ratio is not None:
                ratios[path] = ratio
        return ratios

    def _truth(self, call: Call) -> tuple[Tree | None, str]:
        part = self._wide.get_submodule(call.path)
        try:
            with torch.no_grad():
                result = replay(part, call, self._store, wide=True)
            return self._store.encode(result), ""
        except (OpaqueError, UnbindableError) as error:
            return None, str(error)
        except Exception as error:  # an upstream method that cannot run by itself is listed, not fatal
            return None, f"upstream raised {type(error).__name__}: {error}"


def recorded(
    module: nn.Module, run: Run, store: Store, canonical: Canonical = str, *, arguments: bool = True
) -> Trace:
    """Run a module in its working precision, with every call recorded."""
    paths = canonical_paths(module, canonical)
    parts = {
        path: Part(type(part).__name__, paths[path], attributes(part))
        for path, part in module.named_modules(remove_duplicate=False)
    }
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    with torch.no_grad(), tapped(module, store.encode, arguments=arguments) as calls:
        run(module, dtype)
    return Trace(calls, parts, digests(module, canonical))


def _replay_channels_last(part: nn.Module, call: Call, store: Store) -> Any:
    if not any(parameter.ndim == 4 for parameter in part.parameters()):
        return replay(part, call, store)
    twin = copy.deepcopy(part).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return replay(twin, call, store)


def free_run(module: nn.Module, run: Run, store: Store) -> tuple[Trace | None, str]:
    """Run our side in its working precision, its results recorded, or say why it cannot run through."""
    try:
        return recorded(module, run, store, arguments=False), ""
    except Exception as error:  # where, the replayed modules tell
        return None, f"ours raised {type(error).__name__}: {error}"


def digests(module: nn.Module, canonical: Canonical = str) -> dict[str, str]:
    """The canonical name of each parameter and buffer → its shape and a hash of its values."""
    found = {}
    for name, value in module.state_dict().items():
        try:
            found[canonical(name)] = f"{list(value.shape)} {digest(value.detach().cpu())}"
        except (KeyError, ValueError):  # a tensor that Meta's layout does not have
            continue
    return found
