"""Whether a side gives the same in every run: what draws random numbers, or keeps state, cannot be compared.

With dropout left on, the reference differs from its own float64 truth by so much that any candidate would pass.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from parity.errors import UsageError
from parity.testing.call import Ask, Outcome, generators, run
from parity.testing.reach import Function, Twin, is_compiled, reached, twin
from parity.testing.values import Inputs
from samblocks.numerics.verdict import equal, greatest_difference, rms

FIRST, SECOND = 1, 2
"""Seeds of the two runs that are compared."""

_MORE = 6
"""Further seeds for what drew random numbers that changed nothing."""

_ROUNDING = 8.0
"""Units in the last place up to which two runs that drew random numbers differ by rounding."""


@dataclass(frozen=True)
class First:
    """The first run of a side, which further runs were like.

    Attributes:
        outcome: what it gave.
        idle: whether random numbers were drawn that changed nothing.
    """

    outcome: Outcome
    idle: bool = False


def first_run(side: str, function: Function, inputs: Inputs, ask: Ask) -> First:
    """Run a side, and again: from a deep copy in another random state, and on the same object.

    Args:
        side: "reference" or "candidate".
        function: the callable; it is not touched where it can be copied.
        inputs: what it is called with.
        ask: what every run is asked for.

    Raises:
        UsageError: when the runs differ by more than rounding.
    """
    used = fresh(function)
    first = run(used, inputs, ask, FIRST)
    again = run(used, inputs, ask, SECOND)
    other = run(fresh(function), inputs, ask, SECOND)
    drew = first.drew or again.drew
    if difference := _difference(first.outputs, other.outputs, drew):
        raise UsageError(_random(side, function, inputs, ask, difference))
    if difference := _difference(other.outputs, again.outputs, drew):
        raise UsageError(_stateful(side, difference, first))
    idle = drew and ask.seed is None
    if idle:
        for seed in range(SECOND + 1, SECOND + 1 + _MORE):
            more = run(fresh(function), inputs, ask, seed)
            if difference := _difference(first.outputs, more.outputs, drew):
                raise UsageError(_random(side, function, inputs, ask, difference))
    return First(first, idle)


def fresh(function: Function) -> Twin:
    """A copy of a callable; itself, where it cannot be copied or is compiled."""
    if is_compiled(function):
        return Twin(function, reached(function), copied=False)
    try:
        return twin(function)
    except Exception:  # whatever an object raises that cannot be copied: it is then used as it is
        return Twin(function, reached(function), copied=False)


def _difference(one: Mapping[str, Tensor], other: Mapping[str, Tensor], drew: bool) -> str:
    """Which output of two runs differs by more than rounding, and by how much; empty where none does."""
    if one.keys() != other.keys():
        return f"outputs {', '.join(sorted(one.keys() ^ other.keys()))} in one run only"
    for name, value in one.items():
        second = other[name]
        if value.shape != second.shape or value.dtype != second.dtype:
            return f"output {name!r} is {list(value.shape)} in one run, {list(second.shape)} in another"
        if not equal(value, second) and not _is_rounding(value, second, drew):
            size, index = greatest_difference(value, second)
            return f"output {name!r} differs by {size:.3g} at {list(index)}"
    return ""


def _is_rounding(value: Tensor, other: Tensor, drew: bool) -> bool:
    if not (value.is_floating_point() or value.is_complex()):
        return False
    finite = value.isfinite()
    if not bool((finite == other.isfinite()).all()):
        return False
    # Threads and alignment change last bits, which a deep network amplifies; random numbers change more than that.
    epsilon = torch.finfo(value.dtype).eps
    share = _ROUNDING * epsilon if drew else epsilon**0.5
    wide = torch.complex128 if value.is_complex() else torch.float64
    difference = rms((value[finite].to(wide) - other[finite].to(wide)).abs())
    return difference <= share * rms(value[finite].abs())


def _random(side: str, function: Function, inputs: Inputs, ask: Ask, difference: str) -> str:
    copied = fresh(function)
    layers = _drawing(copied, inputs, ask)
    who = ", ".join(layers[:6]) + (f" and {len(layers) - 6} more" if len(layers) > 6 else "")
    flags = _flags(copied)
    if ask.seed is not None:
        return (
            f"the {side} is not the same in every run, although each starts from seed {ask.seed}: {difference}; "
            "something draws random numbers from a source of its own"
        )
    return (
        f"the {side} is not the same in every run: {difference}; {who or 'something in it'} draws random numbers "
        f"({flags}). Call .eval() on it, or pass seed= to give every run the same random numbers"
    )


def _stateful(side: str, difference: str, first: Outcome) -> str:
    moved = ", ".join(list(first.moved)[:6])
    where = f" ({moved} moved)" if moved else ""
    return (
        f"the {side} keeps state: a second call on the same object, with the same input, is not like the first: "
        f"{difference}{where}. Reset it in each call, or give a function that makes it anew: "
        "lambda x: copy.deepcopy(module)(x)"
    )


def _flags(twin: Twin) -> str:
    """Where the training flag is on."""
    on = [
        _called(prefix + name, part)
        for prefix, module in twin.named_modules()
        for name, part in module.named_modules()
        if part.training and not list(part.children())
    ]
    if not on:
        return "no training flag is on"
    return f"training flag on in {', '.join(on[:6])}" + (f" and {len(on) - 6} more" if len(on) > 6 else "")


def _drawing(twin: Twin, inputs: Inputs, ask: Ask) -> list[str]:
    """The innermost modules in which random numbers are drawn."""
    names: dict[str, None] = {}
    with _watched(twin, names):
        run(twin, inputs, Ask(seed=ask.seed), FIRST)
    return list(names)


@contextmanager
def _watched(twin: Twin, names: dict[str, None]) -> Iterator[None]:
    before: list[tuple[nn.Module, tuple[bytes, ...], int]] = []

    def enter(part: nn.Module, _: object) -> None:
        before.append((part, generators(), len(names)))

    def leave(label: str, part: nn.Module, _: object, __: object) -> None:
        entered, state, known = before.pop()
        if entered is part and generators() != state and len(names) == known:
            names[label] = None

    handles = []
    for prefix, module in twin.named_modules():
        for name, part in module.named_modules():
            label = _called(prefix + name, part)
            handles.append(part.register_forward_pre_hook(enter))
            handles.append(part.register_forward_hook(lambda *seen, label=label: leave(label, *seen)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _called(name: str, part: nn.Module) -> str:
    said = part.extra_repr()
    kind = type(part).__name__ + (f"({said})" if said and len(said) < 40 else "")
    return f"{name}: {kind}" if name else kind
