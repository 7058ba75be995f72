"""The float64 side of a check: the reference's truth, and the candidate in float64 where it can be had."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from parity.errors import UsageError
from parity.testing.call import STATE, Ask, run
from parity.testing.reach import Function, Twin, reached, twin, uncompiled
from parity.testing.repeat import FIRST
from parity.testing.values import WIDE, Inputs, arguments, mapped, outputs_in, precision, tensors, widened
from samblocks.numerics.float64 import LeakError, lifted
from samblocks.numerics.verdict import rms

Truth = Callable[..., Any] | Tensor | Any
"""A callable that computes the outputs in float64, or the outputs themselves."""


@dataclass(frozen=True)
class Wide:
    """Outputs in float64.

    Attributes:
        outputs: by path.
        note: what a reader must know of them; empty where there is nothing.
        why_not: why there are none; empty where there are.
    """

    outputs: dict[str, Tensor]
    note: str = ""
    why_not: str = ""


def truth_run(
    reference: Function, inputs: Inputs, ask: Ask, *, build: Callable[[], nn.Module] | None = None
) -> Wide:
    """The reference in float64 throughout: where it lies, else on the CPU.

    Raises:
        UsageError: when neither can be had; it says what to do.
    """
    try:
        return Wide(lifted_run(reference, inputs, ask, build))
    except UsageError:
        raise
    except Exception as failure:  # the plain run did not fail: whatever this one raises is about float64
        first = failure
    if _devices(reference, inputs) - {"cpu"}:
        try:
            outputs = lifted_run(reference, inputs, ask, build, device="cpu")
            return Wide(outputs, note=f"float64 on the CPU: {_first_line(first)}")
        except Exception as failure:  # the same
            first = failure
    raise UsageError(_advice(first, build)) from None


def candidate_run(candidate: Function, inputs: Inputs, ask: Ask) -> Wide:
    """The candidate in float64, or why that cannot be had: then the working precision alone judges it."""
    failures = []
    for device in (None, "cpu") if _devices(candidate, inputs) - {"cpu"} else (None,):
        try:
            return Wide(lifted_run(candidate, inputs, ask, device=device))
        except Exception as failure:  # the plain run did not fail: whatever this one raises is about float64
            failures.append(_first_line(failure))
    return Wide({}, why_not=failures[0])


def given_truth(truth: Truth, inputs: Inputs) -> Wide:
    """The truth that the caller gave.

    Raises:
        UsageError: when it is not in float64, or its callable raises.
    """
    found = truth
    if callable(truth) and not isinstance(truth, Tensor):
        positional, named = arguments(widened(inputs))
        try:
            with torch.no_grad():
                found = truth(*positional, **named)
        except Exception as failure:  # somebody else's code
            raise UsageError(
                f"truth= raised {_first_line(failure)}; it is called with inputs in float64"
            ) from None
    outputs = {name: value.detach().cpu() for name, value in outputs_in(found, torch.float64)}
    for name, value in outputs.items():
        if value.dtype in WIDE:
            raise UsageError(f"truth= gives output {name!r} in {value.dtype}; a truth is in float64")
    return Wide(outputs, note="the truth is the one that was given")


def lifted_run(
    function: Function,
    inputs: Inputs,
    ask: Ask,
    build: Callable[[], nn.Module] | None = None,
    device: str | None = None,
    change: Callable[[Twin], None] | None = None,
) -> dict[str, Tensor]:
    """Run a copy of a callable in float64 throughout; whatever it raises is passed on.

    Args:
        function: the callable.
        inputs: what it is called with.
        ask: what the run is asked for.
        build: makes its module anew.
        device: where to run it instead of where it lies.
        change: is given the copy before it is run.
    """
    given = widened(inputs)
    if device is not None:
        given = mapped(given, lambda _, value: value.to(device))
    wide = _wide_twin(function, build, device)
    if change is not None:
        change(wide)
    drawn = nullcontext() if ask.seed is None else _narrow_draws(precision(inputs))
    with drawn, lifted():
        outcome = run(wide, given, ask, FIRST, narrow=torch.float64)
    outputs = dict(outcome.outputs) | {STATE + name: value for name, value in outcome.moved.items()}
    for name, value in outputs.items():
        if value.dtype in WIDE:
            raise LeakError(f"output {name!r} comes back in {value.dtype}")
    return outputs


def _wide_twin(function: Function, build: Callable[[], nn.Module] | None, device: str | None) -> Twin:
    function = uncompiled(function)
    given: dict[int, nn.Module] = {}
    if build is not None:
        roots = list(reached(function).values())
        if len(roots) != 1:
            raise UsageError(
                f"build= makes one module, but the reference reaches {len(roots)}; give the module itself, its "
                "bound method, or a function around it"
            )
        weights = {
            name: value.to(WIDE.get(value.dtype, value.dtype))
            for name, value in roots[0].state_dict().items()
        }
        try:
            with lifted():
                made = build()
                made.load_state_dict(weights)
        except RuntimeError as unlike:
            raise UsageError(
                f"build= makes a module with other tensors than the reference: {unlike}"
            ) from None
        given = {id(roots[0]): made.train(roots[0].training)}
    wide = twin(function, widen=True, given=given)
    if device is not None:
        for module in wide.modules.values():
            module.to(device)
    return wide


def _devices(function: Function, inputs: Inputs) -> set[str]:
    kinds = {value.device.type for _, value in tensors(inputs)}
    for module in reached(function).values():
        kinds |= {value.device.type for value in (*module.parameters(), *module.buffers())}
    return kinds


def _advice(failure: Exception, build: object) -> str:
    """Why there is no truth, and what to do."""
    said = _first_line(failure)
    operator = re.search(r'"([^"]+)" not implemented for', str(failure))
    offer = "pass truth=, a callable that computes the outputs in float64, or the outputs themselves"
    if operator is not None or isinstance(failure, NotImplementedError):
        name = f"the operator {operator[1]!r}" if operator is not None else "an operator"
        return f"{name} of the reference has no float64 kernel ({said}); {offer}"
    if isinstance(failure, LeakError):
        first = (
            "pass build=, a function that makes the module anew, so that its tables are made in float64 too"
            if build is None
            else "what build= makes casts to a narrow type by a way that cannot be answered"
        )
        return (
            f"the reference does not run in float64 throughout ({said}); {first}, keep tensors where they can be found "
            f"(a module, a bound method, a partial, a closure), or {offer}"
        )
    return f"the reference runs, but its run in float64 raised {said}; {offer}"


def _first_line(failure: BaseException) -> str:
    lines = str(failure).strip().splitlines()
    return f"{type(failure).__name__}: {lines[0]}" if lines else type(failure).__name__


def drew_alike(plain: dict[str, Tensor], wide: dict[str, Tensor]) -> bool:
    """Whether a run in float64 drew the same random numbers as the plain one: else they are far apart."""
    for name, value in plain.items():
        truth = wide.get(name)
        if truth is None or truth.shape != value.shape or not value.is_floating_point():
            continue
        finite = value.isfinite() & truth.isfinite()
        difference = rms(value[finite].double() - truth[finite])
        if difference > torch.finfo(value.dtype).eps ** 0.5 * rms(truth[finite]):
            return False
    return True


_GENERATORS = (
    "rand",
    "randn",
    "rand_like",
    "randn_like",
    "uniform",
    "uniform_",
    "normal",
    "normal_",
    "exponential_",
)
"""Operators whose numbers depend on the type that they are drawn in."""


class _NarrowDraws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Draws in the working precision what a float64 run asks for, so that one seed gives it the same numbers."""

    def __init__(self, narrow: torch.dtype) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._narrow = narrow

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        if name not in _GENERATORS:
            return func(*args, **kwargs)

        def narrowed(value: Any) -> Any:
            if isinstance(value, Tensor) and value.dtype is torch.float64:
                return value.to(self._narrow)
            return self._narrow if value is torch.float64 else value

        named = {key: narrowed(value) for key, value in kwargs.items()}
        if name in ("rand", "randn") and named.get("dtype") is None:  # by default they draw in float64 here
            named["dtype"] = self._narrow
        drawn = func(*map(narrowed, args), **named)
        if name.endswith("_"):
            return args[0].copy_(drawn)
        return drawn.to(WIDE.get(drawn.dtype, drawn.dtype))


@contextmanager
def _narrow_draws(narrow: torch.dtype) -> Iterator[None]:
    with _NarrowDraws(narrow):
        yield
