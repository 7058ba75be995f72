"""Whether a second run gives what the first gave: randomness and state, told from rounding.

An error is measured against the reference's own, so that a reference which is random hides whatever is wrong by less
than its randomness. It is found by running twice from different random states.
"""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from samblocks.numerics.verdict import equal, greatest_difference, is_inexact, rms

_ROUNDING = 8.0
"""Units in the last place up to which two runs that drew random numbers differ by rounding."""


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Everybody's random numbers (torch's, NumPy's and Python's) from one seed, and as they were afterwards."""
    devices = range(torch.cuda.device_count()) if _cuda_is_used() else ()
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - the state that others draw from
    with torch.random.fork_rng(devices=list(devices)):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)  # noqa: NPY002


def generators() -> tuple[bytes, ...]:
    """Where everybody's random numbers stand."""
    states = [torch.get_rng_state()]
    if _cuda_is_used():
        states += torch.cuda.get_rng_state_all()
    arrays = np.random.get_state(legacy=False)  # noqa: NPY002
    return (
        *(state.numpy().tobytes() for state in states),
        repr(random.getstate()).encode(),
        repr(arrays).encode(),
    )


def differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor], drew: bool) -> str:
    """The first output in which two runs differ by more than rounding, as a phrase; empty where none does.

    Args:
        first: outputs by name.
        second: those of another run.
        drew: whether random numbers were drawn, which change more than rounding does.
    """
    if first.keys() != second.keys():
        return f"outputs {', '.join(sorted(first.keys() ^ second.keys()))} in one run only"
    for name, value in first.items():
        other = second[name]
        if value.shape != other.shape or value.dtype != other.dtype:
            return (
                f"output {name!r} is {list(value.shape)} {value.dtype} in one run, "
                f"{list(other.shape)} {other.dtype} in another"
            )
        if not equal(value, other) and not _is_rounding(value, other, drew):
            size, index = greatest_difference(value, other)
            return f"output {name!r} differs by {size:.3g} at {list(index)}"
    return ""


def _is_rounding(value: Tensor, other: Tensor, drew: bool) -> bool:
    if not is_inexact(value):
        return False
    finite = value.isfinite()
    if not bool((finite == other.isfinite()).all()):
        return False
    # Threads and alignment change last bits, which a deep network amplifies; random numbers change more than that.
    epsilon = torch.finfo(value.dtype).eps
    share = _ROUNDING * epsilon if drew else epsilon**0.5
    wide = torch.complex128 if value.is_complex() else torch.float64
    difference = rms((value[finite].to(wide) - other[finite].to(wide)).abs())
    return difference <= share * rms(value[finite].abs())


def drawing(modules: Iterable[tuple[str, nn.Module]], run: Callable[[], object]) -> list[str]:
    """The innermost modules that take random numbers in a run, each by its path and what it is.

    Args:
        modules: what is watched, with their parts, by path.
        run: runs them.
    """
    before: list[tuple[bytes, ...]] = []
    inner_drew = [False]
    drew: dict[str, None] = {}

    def begin(part: nn.Module, args: object) -> None:
        before.append(generators())
        inner_drew.append(False)

    def end(label: str) -> Callable[..., None]:
        def ended(part: nn.Module, args: object, result: object) -> None:
            took = generators() != before.pop()
            if not inner_drew.pop() and took:
                drew[label] = None
            inner_drew[-1] = inner_drew[-1] or took

        return ended

    handles = []
    try:
        for path, part in modules:
            handles.append(part.register_forward_pre_hook(begin))
            handles.append(part.register_forward_hook(end(named(path, part))))
        run()
    finally:
        for handle in handles:
            handle.remove()
    return list(drew)


def named(path: str, part: nn.Module) -> str:
    """A module by its path, its class and its settings, where these are few."""
    settings = part.extra_repr()
    kind = type(part).__name__ + (f"({settings})" if settings and len(settings) < 40 else "")
    return f"{path}: {kind}" if path else kind


def _cuda_is_used() -> bool:
    return torch.cuda.is_available() and bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
