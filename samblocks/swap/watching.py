"""Which modules run: their public methods are watched for as long as that lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FunctionType
from typing import Any

from torch import nn

_TORCHS = frozenset(dir(nn.Module)) - {"forward"}


@contextmanager
def watching(modules: Iterable[nn.Module]) -> Iterator[set[int]]:
    """Find out which modules are called, by `forward` or by another method of their own.

    Args:
        modules: the modules; they are left as they were.

    Yields:
        The ids of those that were, filled as they are.
    """
    ran: set[int] = set()
    placed: list[tuple[nn.Module, str]] = []
    try:
        for module in modules:
            for name in _methods(module):
                if name not in vars(module):
                    vars(module)[name] = _recording(getattr(module, name), module, ran)
                    placed.append((module, name))
        yield ran
    finally:
        for module, name in placed:
            vars(module).pop(name, None)


def _methods(module: nn.Module) -> list[str]:
    names = {
        name for kind in type(module).__mro__ for name, member in vars(kind).items() if _is_method(member)
    }
    return sorted(name for name in names - _TORCHS if not name.startswith("_"))


def _is_method(member: object) -> bool:
    return isinstance(member, FunctionType)


def _recording(method: Callable[..., Any], module: nn.Module, ran: set[int]) -> Callable[..., Any]:
    @wraps(method)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        ran.add(id(module))
        return method(*args, **kwargs)

    return recorded
