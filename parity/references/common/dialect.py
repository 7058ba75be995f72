"""What the upstream libraries share: from the reference page's names to an upstream class, argument by argument."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from parity.execution.case import NoCounterpart, shown


def same(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as they are."""
    return dict(kwargs)


def renamed(
    new_names: Mapping[str, str] | None = None,
    /,
    *,
    without: Mapping[str, object] | None = None,
    **extra: Any,
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Translate arguments: give some another name, add fixed ones, and drop those that upstream lacks.

    Args:
        new_names: the reference page's name → upstream's name.
        without: arguments that upstream lacks, with the one value that means the same as their absence; any
            other value raises NoCounterpart.
        extra: arguments that upstream needs beside them.
    """

    def translate(kwargs: Mapping[str, Any]) -> dict[str, Any]:
        translated = dict(extra)
        for name, value in kwargs.items():
            if without is not None and name in without:
                if value != without[name]:
                    raise NoCounterpart(f"has no argument {name!r}, which this case sets to {shown(value)}")
                continue
            translated[(new_names or {}).get(name, name)] = value
        return translated

    return translate


@dataclass(frozen=True)
class Entry:
    """Where a block lives upstream (`package.module:Class`) and how its arguments translate."""

    path: str
    arguments: Callable[[Mapping[str, Any]], dict[str, Any]] = field(default=same)

    def load(self) -> Any:
        """Import and return the class or function."""
        module, _, name = self.path.partition(":")
        member = importlib.import_module(module)
        for part in name.split("."):
            member = getattr(member, part)
        return member


class Catalog:
    """A library described by a table of entries; `model` is added by each library."""

    def __init__(self, name: str, entries: Mapping[str, Entry]) -> None:
        self.name = name
        self._entries = entries

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        entry = self._entry(block)
        module: nn.Module = entry.load()(**entry.arguments(kwargs))
        return module

    def function(self, name: str) -> Callable[..., Any]:
        """See `parity.execution.case.Library`."""
        entry = self._entry(name)
        function: Callable[..., Any] = entry.load()
        if entry.arguments is same:
            return function
        return lambda *args, **kwargs: function(*args, **entry.arguments(kwargs))

    def canonical(self, name: str) -> str:
        """Upstream's names are Meta's unless a library says otherwise."""
        return name

    def _entry(self, block: str) -> Entry:
        if block not in self._entries:
            raise NoCounterpart(f"{self.name} has no {block}")
        return self._entries[block]
