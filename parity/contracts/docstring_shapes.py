"""Shapes that docstrings promise, held against real tensors.

A line `x: [B, H, W, C]` under `Args:` of `forward` binds its letters to the tensor's sizes; the next lines, and
those under `Returns:`, must agree with what is bound. `4H`, `H * W`, `C/8` and names of the module's attributes
are computed; `...` stands for any axes; shapes joined by "or" are alternatives.
"""

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

_GROUP = re.compile(r"\[([^\[\]]+)\]")
_LINE = re.compile(r"^    (\w+): (.*(?:\n      .*)*)", re.MULTILINE)
_SYMBOL = re.compile(r"[A-Za-z_]\w*'?")


@dataclass
class Shapes:
    """Docstring shapes of one module class, checked call by call.

    Attributes:
        checked: how many tensors were held against a shape.
        wrong: what did not agree, in sentences.
    """

    checked: int = 0
    wrong: list[str] = field(default_factory=list)

    def call(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Check one call of a module."""
        text = inspect.getdoc(type(module).forward) or ""
        before, _, after = text.partition("Returns:")
        bound: dict[str, int] = {}
        given = inspect.signature(type(module).forward).bind(module, *args, **kwargs).arguments
        lines = {name: entries(says) for name, says in _LINE.findall(before.partition("Args:")[2])}
        for name, value in given.items():
            if isinstance(value, Tensor) and lines.get(name):
                self._one(module, name, value, lines[name][0], bound)
        promised = entries(after.partition("Raises:")[0])
        if isinstance(result, Tensor) and promised:
            self._one(module, "result", result, promised[0], bound)
        elif isinstance(result, tuple) and len(result) == len(promised):
            for place, value in enumerate(result):
                if isinstance(value, Tensor):
                    self._one(module, f"result {place}", value, promised[place], bound)
        elif isinstance(result, list) and promised:
            for place, value in enumerate(result):
                if isinstance(value, Tensor):
                    self._one(module, f"result {place}", value, promised[0], dict(bound))

    def _one(
        self, module: nn.Module, name: str, value: Tensor, alternatives: Sequence[str], bound: dict[str, int]
    ) -> None:
        self.checked += 1
        # One that names a size fits fewer tensors than one that has a letter there: it goes first.
        for shape in sorted(alternatives, key=lambda shape: -len(re.findall(r"\b\d+\b", shape))):
            found = match(shape, tuple(value.shape), bound, module)
            if found is not None:
                bound.update(found)
                return
        self.wrong.append(
            f"{type(module).__name__}: {name} is {list(value.shape)}, the docstring says "
            f"{' or '.join(f'[{shape}]' for shape in alternatives)} with {bound}"
        )


def entries(text: str) -> list[list[str]]:
    """The shapes in a text, in order; those joined by "or" are alternatives of one entry."""
    found: list[list[str]] = []
    end = 0
    for group in _GROUP.finditer(text):
        joined = re.fullmatch(r",?\s*or\s*", text[end : group.start()]) if found else None
        if joined:
            found[-1].append(group.group(1))
        else:
            found.append([group.group(1)])
        end = group.end()
    return found


def match(
    shape: str, sizes: tuple[int, ...], bound: Mapping[str, int], module: nn.Module
) -> dict[str, int] | None:
    """What a shape binds beyond what is bound, or None where the sizes do not fit it."""
    axes = [axis.strip() for axis in shape.split(",")]
    if "..." in axes:
        place = axes.index("...")
        rest = len(axes) - place - 1
        if len(sizes) < len(axes) - 1:
            return None
        axes, sizes = axes[:place] + axes[place + 1 :], sizes[:place] + sizes[len(sizes) - rest :]
    if len(axes) != len(sizes):
        return None
    known = dict(bound)
    for axis, size in zip(axes, sizes, strict=True):
        if _SYMBOL.fullmatch(axis) and axis not in known and not _attribute(module, axis):
            known[axis] = size
            continue
        expected = _value(axis, known, module)
        if expected is not None and expected != size:
            return None
    return known


def _attribute(module: nn.Module, name: str) -> int | None:
    value = getattr(module, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _value(axis: str, known: Mapping[str, int], module: nn.Module) -> int | None:
    """The size that an expression stands for; None where a letter in it is not bound."""
    spelled = re.sub(r"(\d)\s*([A-Za-z])", r"\1*\2", axis)
    total, operation = None, "*"
    for token in re.findall(r"[A-Za-z_]\w*'?|\d+|//|[*/]", spelled):
        if token in ("*", "/", "//"):
            operation = token
            continue
        value = int(token) if token.isdigit() else known.get(token, _attribute(module, token))
        if value is None:
            return None
        if total is None:
            total = value
        elif operation == "*":
            total *= value
        else:
            total = total // value if operation == "//" else math.ceil(total / value)
    return total
