"""A block of a library that calls and names things differently, behind the reference page's call and Meta's names."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from parity.execution.case import NoCounterpart, shown
from parity.references.common.prefixes import Order, Part, translate


class Arguments:
    """Constructor arguments to be taken one by one; what nobody takes has no counterpart."""

    def __init__(self, kwargs: Mapping[str, Any]) -> None:
        self._left = dict(kwargs)

    def take(self, name: str, default: Any = None) -> Any:
        """The argument's value, or the reference page's default."""
        return self._left.pop(name, default)

    def only(self, name: str, *allowed: Any) -> None:
        """Accept an argument that the library lacks, where it has a value that means its absence."""
        if name in self._left:
            value = self._left.pop(name)
            if value not in allowed:
                raise NoCounterpart(f"has no argument {name!r}, which this case sets to {shown(value)}")

    def end(self) -> None:
        """Raise NoCounterpart if an argument is left."""
        for name, value in self._left.items():
            raise NoCounterpart(f"has no argument {name!r}, which this case sets to {shown(value)}")


Call = Callable[..., Any]


class Adapter(nn.Module):
    """Another library's module, called by the reference page's call, with its tensors under Meta's names.

    Attributes:
        inner: the library's module.
        kwargs: the reference page's arguments that it was made from, for blocks that are made of it.
    """

    def __init__(
        self,
        inner: nn.Module,
        parts: Sequence[Part],
        call: Call,
        kwargs: Mapping[str, Any] | None = None,
        *,
        rows: Mapping[str, Sequence[str]] | None = None,
        without: Sequence[str] = (),
        **methods: Call,
    ) -> None:
        """Wrap a module.

        Args:
            inner: the module.
            parts: how it spells the names of its tensors.
            call: what the reference page's call does, given the module and its arguments.
            kwargs: the reference page's arguments of the constructor.
            rows: tensors of the module of which each row is a tensor of Meta's.
            without: beginnings of names of tensors that the block has no use for.
            methods: the reference page's further methods, given the module too.
        """
        super().__init__()
        self.inner, self.kwargs = inner, dict(kwargs or {})
        self._parts, self._call, self._methods = tuple(parts), call, methods
        self._rows, self._without = dict(rows or {}), tuple(without)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """See the reference page's block."""
        return self._call(self.inner, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        methods = self.__dict__.get("_methods", {})
        if name in methods:
            return lambda *args, **kwargs: methods[name](self.inner, *args, **kwargs)
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__"):
                raise
            raise NoCounterpart(f"{type(self.inner).__name__} has no {name!r}") from None

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The module's tensors by Meta's names, in Meta's order."""
        found: list[tuple[Order, str, Tensor]] = []
        for name, value in self.inner.state_dict(*args, **kwargs).items():
            if name.startswith(self._without):
                continue
            if name in self._rows:
                order = translate(self._parts, name)[1]
                found += [
                    ((*order, row), ours, value[row : row + 1]) for row, ours in enumerate(self._rows[name])
                ]
            else:
                ours, order = translate(self._parts, name)
                found.append((order, ours, value))
        return OrderedDict((name, value) for _, name, value in sorted(found, key=lambda entry: entry[0]))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load tensors that are called by Meta's names."""
        own = {}
        for name, value in self.inner.state_dict().items():
            if name.startswith(self._without):
                own[name] = value
            elif name in self._rows:
                own[name] = torch.cat([state_dict[ours] for ours in self._rows[name]])
            else:
                own[name] = state_dict[translate(self._parts, name)[0]]
        return self.inner.load_state_dict(own, strict=strict, assign=assign)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by Meta's names, in Meta's order."""
        found: list[tuple[Order, str, nn.Parameter]] = []
        for name, value in self.inner.named_parameters(*args, **kwargs):
            if not name.startswith(self._without):
                ours, order = translate(self._parts, name)
                found.append((order, ours, value))
        for _, name, value in sorted(found, key=lambda entry: entry[0]):
            yield name, value


def norm_eps(norm_layer: Any) -> float:
    """The eps of a norm given as a class, as a partial of one, or by name."""
    if norm_layer == "LayerNorm":
        return 1e-6
    made = norm_layer(2)
    if type(made) is not nn.LayerNorm:
        raise NoCounterpart(f"has layer norms only, this case uses {type(made).__name__}")
    return float(made.eps)


def activation_name(activation: Any) -> str:
    """The name that configurations give to an activation class."""
    names = {nn.GELU: "gelu", nn.ReLU: "relu", nn.SiLU: "silu"}
    if activation not in names:
        raise NoCounterpart(f"has no name for the activation {activation!r}")
    return names[activation]
