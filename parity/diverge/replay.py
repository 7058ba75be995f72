"""Give a module, or one of its methods, the arguments that another library's module was recorded with."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from parity.diverge.store import Store
from parity.diverge.taps import Argument, Call
from parity.execution.execute import SEED
from samblocks.numerics.float64 import lifted


class UnbindableError(TypeError):
    """The recorded arguments do not fit the signature; the text says why."""


def replay(module: nn.Module, call: Call, store: Store, *, wide: bool = False) -> Any:
    """Call `module` (or its method `call.method`) with the recorded arguments; returns what it returns.

    Args:
        module: the counterpart of the recorded module.
        call: the recorded call.
        store: where its arguments are.
        wide: give the arguments in float64, and compute in float64 throughout.

    Raises:
        UnbindableError: the arguments do not fit, or there is no such method.
        OpaqueError: an argument was no plain data.
    """
    function = getattr(module, call.method, None) if call.method else module
    if function is None:
        raise UnbindableError(f"{type(module).__name__} has no {call.method}()")
    given = [(argument, store.decode(argument.value, wide=wide)) for argument in call.arguments]
    args, kwargs = bind(module.forward if not call.method else function, given)
    torch.manual_seed(SEED)
    with lifted() if wide else nullcontext():
        return function(*args, **kwargs)


def bind(
    function: Callable[..., Any], given: Sequence[tuple[Argument, Any]]
) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments for `function`: by name where it has the names, else by position.

    Libraries order and name their arguments differently. A name that is on both sides is trusted; one that is
    not is matched by position, and only if no name contradicts the order.
    """
    signature = inspect.signature(function)
    named = {
        name: position
        for position, (name, parameter) in enumerate(signature.parameters.items())
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    takes_any_name = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    unknown = [
        argument.name
        for argument, _ in given
        if argument.name is not None
        and argument.name not in named
        and not argument.default
        and not takes_any_name
    ]
    if not unknown and all(argument.name is not None for argument, _ in given):
        kwargs = {
            argument.name: value
            for argument, value in given
            if argument.name is not None and (argument.name in named or takes_any_name)
        }
        return _checked(signature, [], kwargs)
    args: list[Any] = []
    kwargs = {}
    for position, (argument, value) in enumerate(given):
        if argument.keyword:
            kwargs[str(argument.name)] = value
        elif argument.name in named and named[argument.name] != position:
            raise UnbindableError(f"upstream's arguments {', '.join(map(str, unknown))} have no counterpart")
        else:
            args.append(value)
    return _checked(signature, args, kwargs)


def _checked(
    signature: inspect.Signature, args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UnbindableError(f"upstream's arguments do not fit {signature}: {error}") from None
    return args, kwargs
