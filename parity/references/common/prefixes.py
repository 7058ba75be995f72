"""How another library spells the names of one block's tensors, part by part and in Meta's order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One part of a block: a submodule or a tensor.

    Attributes:
        theirs: its name in the other library; `{i}` stands for a number.
        ours: its name in Meta's layout, with the same number.
        inner: the parts of which it is made; none where everything below it is called alike.
    """

    theirs: str
    ours: str
    inner: tuple["Part", ...] = ()


def part(theirs: str, ours: str | None = None, inner: Sequence[Part] = ()) -> Part:
    """A part; without a name of ours both call it the same."""
    return Part(theirs, theirs if ours is None else ours, tuple(inner))


def alike(*names: str) -> tuple[Part, ...]:
    """Parts that both call the same, in Meta's order."""
    return tuple(part(name) for name in names)


Order = tuple[int, ...]
"""Sorts names as Meta's module has its tensors."""

_LEAVES = {"weight": 0, "bias": 1}


def translate(parts: Sequence[Part], name: str) -> tuple[str, Order]:
    """The name in Meta's layout of the tensor that the other library calls `name`, and its place.

    Raises:
        KeyError: when no part has this name.
    """
    for place, candidate in enumerate(parts):
        pattern = re.escape(candidate.theirs).replace(r"\{i\}", r"(\d+)")
        found = re.match(rf"{pattern}(?:\.|$)", name)
        if found is None:
            continue
        number = int(found.group(1)) if found.groups() else 0
        prefix, rest = candidate.ours.replace("{i}", str(number)), name[found.end() :]
        if not rest:
            return prefix, (place, number)
        if not candidate.inner:
            below: Order = (_LEAVES.get(rest.rsplit(".", 1)[-1], len(_LEAVES)),)
            return f"{prefix}.{rest}" if prefix else rest, (place, number, *below)
        inner, order = translate(candidate.inner, rest)
        return f"{prefix}.{inner}" if prefix else inner, (place, number, *order)
    raise KeyError(f"no part is called {name!r}; there are {', '.join(p.theirs for p in parts)}")
