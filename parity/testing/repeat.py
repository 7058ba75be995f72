"""Whether a side gives the same in every run: what draws random numbers, or keeps state, cannot be compared.

With dropout left on, the reference differs from its own float64 truth by so much that any candidate would pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from parity.errors import UsageError
from parity.testing.call import Ask, Outcome, run
from parity.testing.reach import Function, Twin, is_compiled, reached, twin
from parity.testing.values import Inputs
from samblocks.numerics.repeats import differing, drawing, named

FIRST, SECOND = 1, 2
"""Seeds of the two runs that are compared."""

_MORE = 6
"""Further seeds for what drew random numbers that changed nothing."""


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
    if difference := differing(first.outputs, other.outputs, drew):
        raise UsageError(_random(side, function, inputs, ask, difference))
    if difference := differing(other.outputs, again.outputs, drew):
        raise UsageError(_stateful(side, difference, first))
    idle = drew and ask.seed is None
    if idle:
        for seed in range(SECOND + 1, SECOND + 1 + _MORE):
            more = run(fresh(function), inputs, ask, seed)
            if difference := differing(first.outputs, more.outputs, drew):
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


def _random(side: str, function: Function, inputs: Inputs, ask: Ask, difference: str) -> str:
    copied = fresh(function)
    layers = drawing(_parts(copied), lambda: run(copied, inputs, Ask(seed=ask.seed), FIRST))
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
    on = [named(path, part) for path, part in _parts(twin) if part.training and not list(part.children())]
    if not on:
        return "no training flag is on"
    return f"training flag on in {', '.join(on[:6])}" + (f" and {len(on) - 6} more" if len(on) > 6 else "")


def _parts(twin: Twin) -> Iterator[tuple[str, nn.Module]]:
    """Every module that is reached, and its parts, by path."""
    for prefix, module in twin.named_modules():
        for name, part in module.named_modules():
            yield prefix + name, part
