"""What is compared: a case is data plus, where one call does not say it all, a small function.

The same case runs on both sides: in this process on our blocks, in a worker process on upstream's. So nothing
in `parity.cases` imports either; cases reach the code under test through a `Side` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from parity.execution import fill

UNIT = fill.UNIT


class NoCounterpart(Exception):
    """The library has no such block, or its block lacks what the case is about; the text says which."""


def shown(value: object) -> str:
    """An argument's value in a sentence: of modules and classes the name, not all that they hold."""
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    return value.__name__ if isinstance(value, type) else repr(value)


@dataclass(frozen=True)
class Make:
    """A module to construct, named as on the reference page, with its argument names."""

    block: str
    kwargs: Mapping[str, Any]


def make(block: str, **kwargs: Any) -> Make:
    """Describe a nested module: `make("CXBlock", dim=16)`."""
    return Make(block, kwargs)


@dataclass(frozen=True)
class Torch:
    """A class of torch.nn given as an argument, with keyword arguments fixed where there are any."""

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TorchModule:
    """A module of torch.nn given as an argument, such as a pooling layer."""

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """One input: how its values follow from the name of the case and the input."""

    shape: tuple[int, ...]
    values: Callable[[str, tuple[int, ...]], np.ndarray]

    def tensor(self, name: str) -> Tensor:
        """The input's values: float32, int64 or bool."""
        array = np.ascontiguousarray(self.values(name, self.shape))
        return torch.from_numpy(array.astype(np.float32) if array.dtype == np.float64 else array)


def uniform(*shape: int, low: float = -UNIT, high: float = UNIT) -> Spec:
    """A float input, uniform in [low, high); the default has mean 0 and variance 1."""
    return Spec(shape, lambda name, shape: fill.uniform(name, shape, low, high))


def integers(*shape: int, low: int, high: int) -> Spec:
    """An int64 input with values in [low, high)."""
    return Spec(shape, lambda name, shape: fill.integers(name, shape, low, high))


def boolean(*shape: int) -> Spec:
    """A boolean input, about half true."""
    return Spec(shape, lambda name, shape: fill.uniform(name, shape, 0.0, 1.0) < 0.5)


def literal(value: Any) -> Spec:
    """A small input written out in the case; floats become float32, integers int64."""
    array = np.asarray(value)
    return Spec(array.shape, lambda name, shape: array)


class Library(Protocol):
    """One implementation, spoken to with the reference page's names and arguments."""

    name: str

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        """A new module; raises NoCounterpart where the library has none, or not with these arguments."""
        ...

    def function(self, name: str) -> Callable[..., Any]:
        """A free function such as `do_pool`; raises NoCounterpart."""
        ...

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """A whole model as the library's own builder makes it, for another image size, with options set."""
        ...

    def canonical(self, name: str) -> str:
        """The name in Meta's layout of a tensor that the library's state dict calls `name`."""
        ...


@dataclass(frozen=True)
class Side:
    """What a case's function sees: one library, its filled module and the inputs, in one precision."""

    library: Library
    module: nn.Module | None
    inputs: Mapping[str, Tensor]
    dtype: torch.dtype

    @property
    def net(self) -> Any:
        """The module, untyped: a case calls methods that only its class has."""
        if self.module is None:
            raise TypeError("this case is about a function; it has no module")
        return self.module


def call_block(side: Side) -> Any:
    """The usual call: the module, or the function, on the inputs in their order."""
    return side.net(*side.inputs.values())


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a reference is known to do otherwise, and how much of a difference that explains.

    Attributes:
        cause: what it does otherwise, in a sentence.
        imitation: makes of a case the one that our side runs to do as the reference does; what is then left between
            the two is judged by the ordinary rule. None where that cannot be done.
        shown: what the imitation is, in a few words.
        most: how far the reference may be from ours (from the imitation, where there is one), by the names of outputs,
            in which `*` stands for anything. Of floating-point numbers the largest difference over the truth's
            largest value, in float64; of others how many differ. Outputs that are not named here are not excused,
            and nowhere is another name, shape, dtype, or a number that is not finite.
    """

    cause: str
    imitation: Callable[[Case], Case] | None = None
    shown: str = ""
    most: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.imitation is None and not self.most:
            raise ValueError(
                f"known difference {self.cause!r}: needs an imitation, or the most that it explains"
            )
        if (self.imitation is None) != (not self.shown):
            raise ValueError(f"known difference {self.cause!r}: an imitation, and only that, is `shown`")

    @property
    def sentence(self) -> str:
        """The cause, and how it is known that nothing else is behind the difference."""
        most = ", ".join(f"{value:g} in {name}" for name, value in self.most.items())
        how = [f"imitated: {self.shown}"] if self.shown else []
        how += [f"bounded: {most}"] if most else []
        return f"{self.cause} ({'; '.join(how)})"

    def most_of(self, output: str) -> float | None:
        """What `most` says of an output; None where nothing of it is excused."""
        return next((value for name, value in self.most.items() if fnmatchcase(output, name)), None)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One frozen comparison.

    Attributes:
        block: class or function, by its name on the reference page (or in `samblocks.models`).
        name: distinguishes the cases of one block; the id is `block/name`.
        why: one sentence: which behaviour this case pins.
        kwargs: constructor arguments by the reference page's names; `Make`, `Torch` and `TorchModule` stand for modules
            and classes.
        inputs: the inputs, in the order of the call; floating-point ones are given in the run's precision.
        call: what is run on both sides, and what it returns is compared, however nested.
        variant: for whole models, the variant to build instead of `block(**kwargs)`; kwargs are then options.
        image_size: for whole models, the side of the square input in pixels.
        exact: data movement: outputs must be bit-equal in every precision.
        train: the module is in training mode; the global generator is seeded before the call.
        steps: the call takes steps of an optimizer: the module's weights are others afterwards.
        adjust: changes filled weights, by canonical name, before they are loaded (on both sides).
        bound: largest allowed R in float32, and `reason`, which is required when it is above 2.
        bound64: largest relative difference in float64 (whole models: 1e-10).
        double: also judged in float64; False where the function is given no tensor that could ask for it.
        known: what references do otherwise, by their names; the difference is checked to be there.
        check: looks at the truth's outputs and raises AssertionError if the case is blind.
        quick: part of `--quick`.
    """

    block: str
    name: str
    why: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Spec] = field(default_factory=dict)
    call: Callable[[Side], Any] = call_block
    variant: str | None = None
    image_size: int = 256
    exact: bool = False
    train: bool = False
    steps: bool = False
    adjust: Callable[[dict[str, Tensor]], None] | None = None
    bound: float = 2.0
    reason: str = ""
    bound64: float = 1e-12
    double: bool = True
    known: Mapping[str, Known] = field(default_factory=dict)
    check: Callable[[Mapping[str, Tensor]], None] | None = None
    quick: bool = True

    @property
    def large(self) -> bool:
        """Whether its model is so large that only one process may hold one at a time: up to 5 GB in float64."""
        return self.variant is not None and not self.quick

    def __post_init__(self) -> None:
        if not self.why:
            raise ValueError(f"case {self.id}: 'why' must say which behaviour it pins")
        if self.bound > 2.0 and not self.reason:
            raise ValueError(f"case {self.id}: a bound of {self.bound} (above 2) needs a 'reason'")

    @property
    def id(self) -> str:
        """`Block/case`, unique."""
        return f"{self.block}/{self.name}"

    @property
    def is_function(self) -> bool:
        """Whether the case is about a free function rather than a module."""
        return self.variant is None and self.block[:1].islower()

    def tensors(self) -> dict[str, Tensor]:
        """The inputs' values, in float32, int64 or bool."""
        return {name: spec.tensor(f"{self.id}:{name}") for name, spec in self.inputs.items()}
