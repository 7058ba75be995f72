"""Every argument is tried: each one that has a default takes another value in some case."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.cases import all_cases
from parity.execution.execute import execute
from parity.run.samblocks_library import Own
from samblocks import blocks

CANNOT_MATTER: dict[str, str] = {}
"""Arguments that change no number, with the reason: there are none."""


class Recorder(Own):
    """Our blocks, noting which arguments each one was given beside its defaults."""

    def __init__(self) -> None:
        self.given: dict[str, set[str]] = defaultdict(set)

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        module = super().construct(block, kwargs)
        self.note(block, constructor(type(module)), (), kwargs)

        def note_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.note(f"{block}.forward", arguments(type(module).forward), (module, *args), kwargs)

        module.register_forward_pre_hook(note_call, with_kwargs=True)
        return module

    def function(self, name: str) -> Callable[..., Any]:
        function = super().function(name)

        @wraps(function)
        def noted(*args: Any, **kwargs: Any) -> Any:
            self.note(name, arguments(function), args, kwargs)
            return function(*args, **kwargs)

        return noted

    def note(
        self, where: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if differs(value, signature.parameters[name].default):
                self.given[where].add(name)


def arguments(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


def constructor(block: type[nn.Module]) -> inspect.Signature:
    """The signature of a class; what it hands on to its parent (`*args`, `**kwargs`) is the parent's."""
    own = inspect.signature(block)
    handed_on = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    kept = [entry for entry in own.parameters.values() if entry.kind not in handed_on]
    if len(kept) < len(own.parameters):
        parent = constructor(next(base for base in block.__mro__[1:] if issubclass(base, nn.Module)))
        kept = [*(entry for name, entry in parent.parameters.items() if name not in own.parameters), *kept]
    return inspect.Signature([entry.replace(kind=inspect.Parameter.KEYWORD_ONLY) for entry in kept])


def differs(value: Any, default: Any) -> bool:
    """Whether a value is another one than the default; a tensor or a module always is."""
    if default is inspect.Parameter.empty or isinstance(value, Tensor | nn.Module):
        return True
    if isinstance(value, list | tuple) and isinstance(default, list | tuple):
        return tuple(value) != tuple(default)
    return bool(value is not default and value != default)


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    recorder = Recorder()
    for case in all_cases().values():
        if case.block in blocks.__all__:
            execute(case, recorder, case.tensors())
    return recorder


def test_every_constructor_argument_takes_another_value_than_its_default(recorder: Recorder) -> None:
    never = {
        f"{name}.{argument}"
        for name in blocks.__all__
        if isinstance(member := getattr(blocks, name), type)
        for argument in constructor(member).parameters
        if argument not in recorder.given[name]
    }
    assert never - set(CANNOT_MATTER) == set(), "no case sets these to anything but their default"
    assert set(CANNOT_MATTER) <= never, "cases do set these: take them from the table"


def test_every_argument_of_a_call_takes_another_value_than_its_default(recorder: Recorder) -> None:
    never = set()
    for name in blocks.__all__:
        member = getattr(blocks, name)
        if isinstance(member, type) and issubclass(member, nn.Module):
            where, function = f"{name}.forward", member.forward
        else:
            where, function = name, member
        never |= {
            f"{where}.{argument}"
            for argument in arguments(function).parameters
            if argument != "self" and argument not in recorder.given[where]
        }
    assert never == set(), "no case gives these anything but their default"


def test_an_argument_that_is_left_alone_is_seen() -> None:
    recorder = Recorder()
    recorder.construct("PatchEmbed", {"kernel_size": (16, 16), "embed_dim": 4})
    recorder.construct("RoPEAttention", {"embedding_dim": 8, "num_heads": 1, "feat_sizes": [32, 32]})
    assert recorder.given["PatchEmbed"] == {"embed_dim"}
    assert recorder.given["RoPEAttention"] == {"embedding_dim", "num_heads"}
    assert "dropout" in constructor(blocks.RoPEAttention).parameters


def test_arguments_of_a_call_are_seen() -> None:
    recorder = Recorder()
    attention = recorder.construct("RoPEAttention", {"embedding_dim": 8, "num_heads": 1})
    x = torch.zeros(1, 4, 8)
    attention(x, x, v=x, num_k_exclude_rope=0)
    recorder.function("get_1d_sine_pe")(torch.zeros(2), 4)
    assert recorder.given["RoPEAttention.forward"] == {"self", "q", "k", "v"}
    assert recorder.given["get_1d_sine_pe"] == {"pos_inds", "dim"}
