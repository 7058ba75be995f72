"""Inside a failing module whose parts all hold: between which of its parts does the error arise?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from parity.compare import compare
from parity.diverge.replay import replay
from parity.diverge.store import Store
from parity.diverge.taps import Call, call_name, tapped
from parity.diverge.upstream import Trace


def step_of(
    call: Call,
    theirs: Trace,
    module: nn.Module,
    store: Store,
    within: Callable[[int], list[Call]],
    bound: float,
) -> str:
    """The step, as a phrase; "" where nothing is called inside.

    Both modules run once more on the recorded input; what each hands to its parts is compared, in order.

    Args:
        call: upstream's recorded call.
        theirs: the trace that it belongs to.
        module: our counterpart.
        store: where the values are.
        within: upstream's calls made directly in one of its calls, in float64.
        bound: largest R that holds.
    """
    upstream = [inner for inner in theirs.calls if inner.parent == call.index]
    try:
        truths = {_key(inner): inner for inner in within(call.index)[1:]}
        with tapped(module, store.encode, deep=False) as calls, torch.no_grad():
            replay(module, call, store)
    except Exception as error:
        return f"ours cannot be looked into: {type(error).__name__}: {error}"
    ours = {_key(inner): inner for inner in calls[1:]}
    if not upstream:
        return "" if not ours else f"upstream calls no part here, ours calls {_list(ours)}"
    before = "the input"
    counts: dict[tuple[str, str], int] = {}
    for inner in upstream:
        relative = _relative(inner.path, call.path)
        occurrence = counts.get((relative, inner.method), 0)
        counts[relative, inner.method] = occurrence + 1
        key = relative, inner.method, occurrence
        name = _spoken(key)
        if key not in ours:
            return f"after {before}: upstream calls {name}, ours does not"
        if not _agree(ours[key], inner, truths.get(key), store, bound):
            return f"between {before} and {name}"
        before = name
    extra = [key for key in ours if key not in {*counts_keys(counts)}]
    if extra:
        return f"ours also calls {', '.join(_spoken(key) for key in extra)}"
    return f"between {before} and the output"


def counts_keys(counts: dict[tuple[str, str], int]) -> list[tuple[str, str, int]]:
    """Every (path, method, occurrence) that was counted."""
    return [(path, method, n) for (path, method), total in counts.items() for n in range(total)]


def _agree(ours: Call, theirs: Call, truth: Call | None, store: Store, bound: float) -> bool:
    """Whether a part is given the same on both sides."""
    mine, yours = _arguments(ours, store), _arguments(theirs, store)
    wide = _arguments(truth, store) if truth else {}
    names = [name for name in yours if name in mine]
    if not names:  # named differently: by position
        mine, yours, wide = (
            {str(position): value for position, value in enumerate(found.values())}
            for found in (mine, yours, wide)
        )
        names = [name for name in yours if name in mine]
    results = [compare(mine[name], yours[name], wide.get(name), bound=bound) for name in names]
    return not any(result.verdict.failed for result in results)


def _arguments(call: Call, store: Store) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for position, argument in enumerate(call.arguments):
        for path, value in store.tensors(argument.value).items():
            found[f"{argument.name or position}/{path}"] = value
    return found


def _key(call: Call) -> tuple[str, str, int]:
    return call.path, call.method, call.occurrence


def _relative(path: str, base: str) -> str:
    return path.removeprefix(f"{base}.") if base and path != base else ("" if path == base else path)


def _spoken(key: tuple[str, str, int]) -> str:
    path, method, occurrence = key
    name = call_name(path, method)
    return f"{name} (call {occurrence + 1})" if occurrence else name


def _list(calls: dict[tuple[str, str, int], Call]) -> str:
    return ", ".join(_spoken(key) for key in calls)
