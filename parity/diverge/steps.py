"""Inside a failing module whose parts all hold: between which of its parts does the error arise?"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from parity.diverge.replay import replay
from parity.diverge.store import Store
from parity.diverge.taps import Call, call_name, tapped
from parity.diverge.upstream import Trace
from samblocks.numerics.verdict import compare

Key = tuple[str, str, int]
"""A call in a module: the part's canonical path below it, the method, and how many calls of it went before."""


@dataclass(frozen=True)
class Sides:
    """What looking into a call needs.

    Attributes:
        theirs: upstream's trace.
        modules: our modules by canonical path.
        store: where the values are.
        within: upstream's calls made in one of its calls, in float64.
        bound: largest R that holds.
    """

    theirs: Trace
    modules: Mapping[str, nn.Module]
    store: Store
    within: Callable[[int], list[Call]]
    bound: float


def step_of(call: Call, sides: Sides) -> str:
    """The step, as a phrase; "" where nothing is called inside.

    Both modules run once more on the recorded input; what each hands to its parts is compared, in order.
    """
    names = {path: part.canonical for path, part in sides.theirs.parts.items()}
    base = names[call.path]
    module = sides.modules[base]
    upstream = _inside(sides.theirs.calls, call.index)
    try:
        truths = sides.within(call.index)[1:]
        with tapped(module, sides.store.encode) as calls, torch.no_grad():
            replay(module, call, sides.store)
    except Exception as error:
        return f"it cannot be looked into: {type(error).__name__}: {error}"
    ours = _keyed(calls[1:], lambda path: path)
    if not upstream:
        return f"upstream calls no part here, ours calls {_list(ours)}" if ours else ""
    below = _keyed(upstream, lambda path: _relative(names[path], base))
    wide = dict(zip(below, truths, strict=False)) if len(truths) == len(upstream) else {}
    before = "the input"
    for key, inner in _outermost(below, ours, call.index):
        name = _spoken(key)
        if key not in ours:
            if f"{base}.{key[0]}".strip(".") in sides.modules and not key[1]:
                return f"after {before}: upstream calls {name}, ours does not"
            continue
        if not _agree(ours[key], inner, wide.get(key), sides):
            return f"between {before} and {name}"
        before = name
    return f"between {before} and the output"


def _inside(calls: Sequence[Call], index: int) -> list[Call]:
    """The calls made in the one with this index, and in those, in order."""
    inside = {index}
    found = []
    for call in calls:
        if call.parent in inside:
            inside.add(call.index)
            found.append(call)
    return found


def _keyed(calls: Sequence[Call], name: Callable[[str], str]) -> dict[Key, Call]:
    counts: Counter[tuple[str, str]] = Counter()
    found = {}
    for call in calls:
        what = name(call.path), call.method
        found[*what, counts[what]] = call
        counts[what] += 1
    return found


def _outermost(
    below: Mapping[Key, Call], ours: Mapping[Key, Call], parent: int
) -> Iterator[tuple[Key, Call]]:
    """Upstream's calls in order; where ours lacks one, those made in it stand for it."""
    for key, call in below.items():
        if call.parent != parent:
            continue
        if key in ours or not any(inner.parent == call.index for inner in below.values()):
            yield key, call
        else:
            yield from _outermost(below, ours, call.index)


def _agree(ours: Call, theirs: Call, truth: Call | None, sides: Sides) -> bool:
    """Whether a part is given the same on both sides."""
    found = [_arguments(call, sides.store) if call else {} for call in (ours, theirs, truth)]
    if not found[0].keys() & found[1].keys():  # named differently: by position
        found = [{str(place): value for place, value in enumerate(one.values())} for one in found]
    mine, yours, wide = found
    results = [
        compare(mine[name], yours[name], wide.get(name), bound=sides.bound) for name in yours if name in mine
    ]
    return not any(result.verdict.failed for result in results)


def _arguments(call: Call, store: Store) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for position, argument in enumerate(call.arguments):
        for path, value in store.tensors(argument.value).items():
            found[f"{argument.name or position}/{path}"] = value
    return found


def _relative(path: str, base: str) -> str:
    return "" if path == base else path.removeprefix(f"{base}.") if base else path


def _spoken(key: Key) -> str:
    path, method, occurrence = key
    name = call_name(path, method)
    return f"{name} (call {occurrence + 1})" if occurrence else name


def _list(calls: Mapping[Key, Call]) -> str:
    return ", ".join(_spoken(key) for key in calls)
