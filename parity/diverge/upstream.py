"""The side that is taken to be right: recorded in its working precision, and judged by its float64 self.

The same code runs in a worker, on upstream's modules, and in this process, on any two torch modules.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from parity.diverge.align import Canonical, attributes, canonical_paths
from parity.diverge.replay import UnbindableError, replay
from parity.diverge.store import OpaqueError, Store, Tree
from parity.diverge.taps import Call, tapped
from samblocks.numerics.float64 import lifted

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
        note: why there is no float64 run of the whole, where there is none.
    """

    calls: list[Call]
    parts: dict[str, Part]
    tensors: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data; see `from_json`."""
        return {
            "calls": [call.as_json() for call in self.calls],
            "parts": {path: vars(part) for path, part in self.parts.items()},
            "tensors": self.tensors,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Trace":
        """A trace from its plain data."""
        return cls(
            [Call.from_json(call) for call in data["calls"]],
            {path: Part(**part) for path, part in data["parts"].items()},
            data["tensors"],
            data["note"],
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
        """Run once in each precision, then every recorded call on its own in float64."""
        trace = recorded(self._narrow, self._run, self._store, self._canonical)
        note = self._run_wide(trace.calls)
        for call in trace.calls:
            call.truth, call.note = self._truth(call)
        self._calls = trace.calls
        return Trace(trace.calls, trace.parts, trace.tensors, note)

    def within(self, index: int) -> list[Call]:
        """The call with this index again, in float64, with the calls made in it."""
        call = self._calls[index]
        part = self._wide.get_submodule(call.path)
        with tapped(part, self._store.encode) as calls, torch.no_grad():
            replay(part, call, self._store, wide=True)
        return calls

    def _run_wide(self, calls: list[Call]) -> str:
        try:
            with (
                lifted(),
                torch.no_grad(),
                tapped(self._wide, self._store.encode, arguments=False) as found,
            ):
                self._run(self._wide, torch.float64)
        except Exception as error:  # whatever it is, each call is still judged on its own
            return f"{type(error).__name__}: {error}"
        alone = {(call.path, call.method, call.occurrence): call.result for call in found}
        for call in calls:
            call.alone = alone.get((call.path, call.method, call.occurrence))
        return ""

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
    tensors = {}
    for name, value in module.state_dict().items():
        try:
            tensors[canonical(name)] = _print_of(value)
        except (KeyError, ValueError):  # a tensor that Meta's layout does not have
            continue
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    with torch.no_grad(), tapped(module, store.encode, arguments=arguments) as calls:
        run(module, dtype)
    return Trace(calls, parts, tensors)


def _print_of(value: Tensor) -> str:
    body = safetensors.torch.save({"t": value.detach().cpu().contiguous().clone()})
    return f"{list(value.shape)} {blake2b(body, digest_size=12).hexdigest()}"
