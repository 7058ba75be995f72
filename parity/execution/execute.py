"""Run one case on one library in one precision; the same code in this process and in the workers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from parity.execution import fill
from parity.execution.case import Case, Library, Make, Side, Torch, TorchModule
from samblocks.numerics.float64 import WAYS
from samblocks.numerics.nested import leaves, slashed

SEED = 20240729
"""Seed of the global generator before each call: drop path draws the same masks on both sides."""


State = tuple[tuple[str, tuple[int, ...]], ...]
"""Canonical names and shapes of a module's tensors, in the order of its state dict."""


@dataclass(frozen=True)
class Outcome:
    """What a run gave: outputs by path, and the canonical names and shapes of the module's tensors."""

    outputs: dict[str, Tensor]
    state: State


def execute(
    case: Case,
    library: Library,
    inputs: Mapping[str, Tensor],
    *,
    dtype: torch.dtype = torch.float32,
    autocast: torch.dtype | None = None,
    lift: bool | str = False,
    weights: Mapping[str, Tensor] | None = None,
    device: str = "cpu",
) -> Outcome:
    """Construct, fill, run and flatten.

    Args:
        case: what to run.
        library: on what.
        inputs: the case's inputs in float32, int64 or bool; floating-point ones are converted to `dtype`.
        dtype: precision of weights and inputs.
        autocast: run under `torch.autocast` of this dtype.
        lift: construct and run in float64 throughout, whatever the library's code asks for; a name of
            `samblocks.numerics.float64.WAYS` says in which way.
        weights: tensors by canonical name to load instead of filled ones.
        device: where it runs; a lifted run is the truth and stays on the processor. Outputs come back to it.
    """
    if lift:
        dtype, device = torch.float64, "cpu"
    module: nn.Module | None = None
    state: State = ()
    if not case.is_function:
        module, state = prepare(case, library, dtype=dtype, lift=lift, weights=weights)
        module.to(device)
    mixed = nullcontext() if autocast is None else torch.autocast(torch.device(device).type, autocast)
    with _way(lift), torch.no_grad(), mixed:
        result = call(case, library, module, inputs, dtype, device)
        outputs = {path: value.detach().clone().cpu() for path, value in flatten(result)}
    return Outcome(outputs, state)


def execute_on(
    module: nn.Module,
    case: Case,
    library: Library,
    inputs: Mapping[str, Tensor],
    dtype: torch.dtype,
    device: str = "cpu",
) -> Outcome:
    """Run and flatten on a module that has its weights already, such as one that was loaded from a file."""
    with torch.no_grad():
        result = call(case, library, module.to(device), inputs, dtype, device)
        outputs = {path: value.detach().clone().cpu() for path, value in flatten(result)}
    state = tuple((name, tuple(entry.shape)) for name, entry in module.state_dict().items())
    return Outcome(outputs, state)


def prepare(
    case: Case,
    library: Library,
    *,
    dtype: torch.dtype = torch.float32,
    lift: bool | str = False,
    weights: Mapping[str, Tensor] | None = None,
) -> tuple[nn.Module, State]:
    """The case's module with its weights, and its tensors' canonical names and shapes; see `execute`."""
    with _way(lift), torch.no_grad():
        module = _construct(case, library)
        state = _load(module, case, library, weights)
        return module.to(torch.float64 if lift else dtype).train(case.train), state


def call(
    case: Case,
    library: Library,
    module: nn.Module | None,
    inputs: Mapping[str, Tensor],
    dtype: torch.dtype,
    device: str = "cpu",
) -> Any:
    """Run the case's function on a module that is there already; the result as it is returned."""
    given = {
        name: value.to(device, dtype if value.is_floating_point() else None) for name, value in inputs.items()
    }
    torch.manual_seed(SEED)
    return case.call(Side(library, module, given, dtype))


def flatten(result: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield (path, tensor) for each leaf of a nested result; numbers become 0-d tensors, None is left out."""
    for path, leaf in leaves(result):
        if isinstance(leaf, Tensor):
            yield slashed(path), leaf
        elif isinstance(leaf, bool | int | float):
            yield slashed(path), torch.tensor(leaf)
        elif leaf is not None:
            raise TypeError(f"output {slashed(path)!r} is a {type(leaf).__name__}, not a tensor or a number")


def resolve(value: Any, library: Library) -> Any:
    """Turn the descriptions in a case's arguments into modules and classes of one library."""
    if isinstance(value, Make):
        return library.construct(
            value.block, {key: resolve(item, library) for key, item in value.kwargs.items()}
        )
    if isinstance(value, Torch):
        member = getattr(nn, value.name)
        return partial(member, **value.kwargs) if value.kwargs else member
    if isinstance(value, TorchModule):
        return getattr(nn, value.name)(**value.kwargs)
    if isinstance(value, list | tuple):
        return type(value)(resolve(item, library) for item in value)
    return value


def _way(lift: bool | str) -> AbstractContextManager[None]:
    if not lift:
        return nullcontext()
    return WAYS["lifted" if lift is True else lift]()


class _Unset(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """NaN in place of initial random values, which take longer to draw than a model to be filled.

    What is not filled afterwards does not pass for a weight.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (torch.ops.aten.uniform_.default, torch.ops.aten.normal_.default):
            return args[0].fill_(torch.nan)
        return func(*args, **(kwargs or {}))


def _construct(case: Case, library: Library) -> nn.Module:
    with _Unset():  # type: ignore[no-untyped-call]
        kwargs = {key: resolve(value, library) for key, value in case.kwargs.items()}
        if case.variant is not None:
            return library.model(case.variant, case.image_size, kwargs)
        return library.construct(case.block, kwargs)


def _load(module: nn.Module, case: Case, library: Library, weights: Mapping[str, Tensor] | None) -> State:
    """Give the module its weights, strictly; returns canonical names and shapes in state-dict order."""
    own = module.state_dict()
    canonical = {name: library.canonical(name) for name in own}
    state = tuple((canonical[name], tuple(entry.shape)) for name, entry in own.items())
    if weights is None and case.adjust is None:
        # One tensor at a time: the largest models would not fit twice.
        for name, entry in own.items():
            if entry.is_floating_point():
                entry.copy_(fill.widened(canonical[name], entry.shape))
        return state
    if weights is None:
        tensors = {
            canonical[name]: fill.widened(canonical[name], entry.shape)
            if entry.is_floating_point()
            else entry
            for name, entry in own.items()
        }
    else:
        wide = torch.get_default_dtype()
        tensors = {
            name: value.to(wide) if value.is_floating_point() else value for name, value in weights.items()
        }
    if case.adjust is not None:
        tensors = _adjusted(tensors, case.adjust)
    differing = set(tensors) ^ set(canonical.values())
    if differing:
        raise KeyError(
            f"weights and {library.name}'s module differ in {len(differing)} names, e.g. {min(differing)!r}"
        )
    module.load_state_dict({name: tensors[canonical[name]] for name in own}, strict=True)
    return state


def _adjusted(
    tensors: Mapping[str, Tensor], adjust: Callable[[dict[str, Tensor]], None]
) -> dict[str, Tensor]:
    """Adjust in float64 whatever the run's precision, and round as NumPy does: so all runs get equal numbers."""
    changed = {
        name: value.double() if value.is_floating_point() else value for name, value in tensors.items()
    }
    before = {name: (value, value._version) for name, value in changed.items()}
    adjust(changed)
    return {
        # What was left alone is not rounded again: whole models take their time.
        name: torch.from_numpy(np.asarray(value.numpy().astype(np.float32), np.float64))
        if value.is_floating_point() and _touched(before.get(name), value)
        else value
        for name, value in changed.items()
    }


def _touched(before: tuple[Tensor, int] | None, value: Tensor) -> bool:
    """Whether a tensor is another one than before, or was written to."""
    return before is None or before[0] is not value or before[1] != value._version
