"""What a check could not see: what is zero or constant, and what no output depends on.

A bug in a table of zeros changes nothing, and nothing else could tell it from the truth.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from parity.testing.call import Ask, run, total_of
from parity.testing.reach import Function, Twin, is_compiled, uncompiled
from parity.testing.repeat import FIRST, First, fresh
from parity.testing.values import Inputs, arguments, copies, mapped, outputs_in, precision, tensors
from samblocks.numerics.draws import vary
from samblocks.numerics.repeats import random_state
from samblocks.numerics.verdict import equal

_CALLS = 8
"""Most further calls for what has no gradient."""

_NAMED = 6
"""Most names in a sentence."""


def unseen(reference: Function, inputs: Inputs, ask: Ask, first: First) -> list[str]:
    """Sentences on what a check of this reference could not see; one backward pass, and at most 8 further calls.

    Args:
        reference: the callable.
        inputs: what it is called with.
        ask: what its runs were asked for.
        first: its first run.
    """
    function = uncompiled(reference) if is_compiled(reference) else reference
    tensors_of = _tensors(fresh(function))
    zero = [name for name, value in tensors_of.items() if value.numel() and not bool(value.any())]
    constant = [name for name, value in tensors_of.items() if name not in zero and _is_constant(value)]
    outputs = first.outcome.outputs
    plain = {name: value for name, value in outputs.items() if not name.startswith("gradient")}
    sentences = [_sentence(zero, "zero"), _sentence(constant, "constant")]
    sentences.append(_sentence([name for name, value in plain.items() if not value.numel()], "empty"))
    flat = [name for name, value in plain.items() if _is_constant(value)]
    sentences.append(_sentence(flat, "constant"))
    probe = _Probe(function, inputs, ask)
    blind = [name for name in probe.without_effect() if name.removeprefix(_PARAMETER) not in zero]
    if blind:
        sentences.append(f"no output depends on {_names([name.removeprefix(_PARAMETER) for name in blind])}")
    still = [name for name in probe.still if name not in flat and plain[name].numel()]
    if still:
        sentences.append(
            f"{_names(still)} {'depend' if len(still) > 1 else 'depends'} on no input and no parameter"
        )
    if first.idle:
        sentences.append("random numbers are drawn, and changed nothing")
    return [sentence for sentence in sentences if sentence]


_INPUT, _PARAMETER = "input ", "parameter "


class _Probe:
    """Looks at what the outputs of a callable depend on.

    Attributes:
        still: outputs that did not change, whatever was changed; only those that have no gradient.
    """

    def __init__(self, function: Function, inputs: Inputs, ask: Ask) -> None:
        self.still: list[str] = []
        self._function, self._inputs, self._ask = function, inputs, ask
        self._calls = 0

    def without_effect(self) -> list[str]:
        """Inputs and parameters that no output depends on, as far as so many calls can tell."""
        leaves, differentiable = self._by_gradient()
        blind = [name for name, moves in leaves.items() if not moves]
        if not blind and differentiable is None:
            return []
        base = self._changed([])
        if base is None:
            return []
        self.still = [name for name in base if differentiable is not None and name not in differentiable]
        if not blind and not self.still:
            return []
        if self.still:
            self._look(list(leaves), base)
        return list(self._halved(blind, base)) if blind else []

    def _by_gradient(self) -> tuple[dict[str, bool], set[str] | None]:
        """By input and parameter whether the gradient is not zero, and the outputs that have one."""
        twin = fresh(self._function)
        if not twin.copied:  # to try other weights on what the caller owns is out of the question
            return {}, None
        given = copies(self._inputs)
        every = {f"{_INPUT}{path}": value for path, value in tensors(given)}
        every |= {f"{_PARAMETER}{name}": value for name, value in twin.parameters()}
        moves = dict.fromkeys(every, False)
        wanted = {
            name: value for name, value in every.items() if value.is_floating_point() or value.is_complex()
        }
        try:
            with torch.enable_grad(), random_state(self._ask.seed or FIRST):
                for value in wanted.values():
                    value.requires_grad_(True)
                positional, named = mapped(
                    arguments(given),
                    lambda _, value: value + 0 if value.requires_grad else value,
                    arrays=False,
                )
                outputs = dict(outputs_in(twin.function(*positional, **named), precision(self._inputs)))
                total = total_of(outputs)
                if total is None:
                    return moves, set()
                slopes = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
        except Exception:  # code that cannot be differentiated is looked at by calls alone
            return moves, set()
        for name, slope in zip(wanted, slopes, strict=True):
            moves[name] = slope is not None and bool((slope != 0).any())
        return moves, {name for name, value in outputs.items() if value.requires_grad}

    def _halved(self, names: Sequence[str], base: Mapping[str, Tensor]) -> Iterator[str]:
        """Those of `names` that change no output: all of a group at once, else its halves."""
        found = self._look(names, base)
        if found is None:  # no calls are left: it is not known
            return
        if not found:
            yield from names
        elif len(names) > 1:
            middle = len(names) // 2
            yield from self._halved(names[:middle], base)
            yield from self._halved(names[middle:], base)

    def _look(self, names: Sequence[str], base: Mapping[str, Tensor]) -> bool | None:
        """Whether changing these changes an output; None where it cannot be told."""
        after = self._changed(names)
        if after is None:
            return None
        moved = [
            name
            for name, value in base.items()
            if name not in after or after[name].shape != value.shape or not equal(value, after[name])
        ]
        self.still = [name for name in self.still if name not in moved]
        return bool(moved)

    def _changed(self, names: Sequence[str]) -> dict[str, Tensor] | None:
        """Outputs with these inputs and parameters changed; None where no calls are left, or one raises."""
        if self._calls == _CALLS:
            return None
        self._calls += 1
        twin = fresh(self._function)
        wanted = set(names)
        with torch.no_grad():
            for name, value in twin.parameters():
                if f"{_PARAMETER}{name}" in wanted:
                    value.copy_(_other(value, name))
        paths = iter([path for path, _ in tensors(self._inputs)])

        def change(_: str, value: Tensor) -> Tensor:
            path = next(paths)
            return _other(value, path) if f"{_INPUT}{path}" in wanted else value

        positional, named = arguments(self._inputs)
        positional, named = mapped(positional, change), mapped(named, change)
        called = Twin(lambda: twin.function(*positional, **named), twin.modules)
        try:
            return run(called, (), Ask(seed=self._ask.seed), FIRST, narrow=precision(self._inputs)).outputs
        except Exception:  # values that the callable does not take
            return {}


def _other(value: Tensor, name: str) -> Tensor:
    """Other values of the same kind: numbers vary, indices change places."""
    if not value.numel():
        return value
    if value.is_floating_point() or value.is_complex():
        varied = vary(value, f"sight:{name}")
        return varied if not torch.equal(varied, value) else value + 1
    if value.dtype is torch.bool:
        return value.logical_not()
    moved = value.flatten().roll(1).reshape(value.shape)
    return (
        moved
        if not torch.equal(moved, value)
        else torch.where(value > 0, value - 1, value + 1).to(value.dtype)
    )


def _tensors(twin: Twin) -> dict[str, Tensor]:
    named = [*twin.parameters(), *twin.buffers()]
    return {name: value.detach() for name, value in named if value.is_floating_point() or value.is_complex()}


def _is_constant(value: Tensor) -> bool:
    if value.numel() < 2 or value.dtype is torch.uint8:
        return False
    first = value.flatten()[0]
    return bool(((value == first) | ((value != value) & (first != first))).all())


def _sentence(names: Sequence[str], what: str) -> str:
    return f"{_names(names)} {'are' if len(names) > 1 else 'is'} {what}" if names else ""


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
