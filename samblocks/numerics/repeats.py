"""Whether a second run of a model gives what the first gave: randomness and state, told from rounding.

An error is measured against the reference's own, so that a reference which is random hides whatever is wrong by less
than its randomness. It is found by running twice from different random states.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from samblocks.numerics.verdict import equal, greatest_difference, is_inexact, largest

_SEEDS = (0, 20240729)


@contextmanager
def seeded(number: int = 0) -> Iterator[None]:
    """Random states of one of two kinds, 0 or 1; those of before come back afterwards."""
    devices = list(range(torch.cuda.device_count())) if _cuda_is_used() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(_SEEDS[number])
        yield


def differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> str:
    """The first output in which two runs differ beyond rounding, as a phrase; empty where none does.

    Sums in another order change a few last bits: up to 64 ε of the largest value is taken for that, but no more than
    a sixteenth in low precisions.
    """
    if first.keys() != second.keys():
        return f"{sorted(first.keys() ^ second.keys())[0]} is there in one of two runs alone"
    for name, value in first.items():
        other = second[name]
        if value.shape != other.shape or value.dtype != other.dtype:
            return f"{name} has another shape or dtype in a second run"
        if equal(value, other):
            continue
        difference, _ = greatest_difference(value, other)
        size = largest(value)
        allowed = min(64 * torch.finfo(value.dtype).eps, 1 / 16) * size if is_inexact(value) else 0.0
        if not difference <= allowed:
            share = f"{difference / size:.1e} of its largest value" if size > 0 else f"{difference:.1e}"
            return f"{name} differs by {share} in a second run"
    return ""


def drawing(module: nn.Module, run: Callable[[], object]) -> list[str]:
    """The innermost modules that take random numbers in a run, each by its path and class.

    Args:
        module: what is watched, on the CPU and on CUDA devices.
        run: runs it.
    """
    before: list[list[Tensor]] = []
    inner_drew = [False]
    drew: list[str] = []
    names = {id(part): path for path, part in module.named_modules()}

    def begin(part: nn.Module, args: object) -> None:
        before.append(_states())
        inner_drew.append(False)

    def end(part: nn.Module, args: object, result: object) -> None:
        took = any(not torch.equal(a, b) for a, b in zip(before.pop(), _states(), strict=True))
        if not inner_drew.pop() and took:
            drew.append(f"{names[id(part)] or '(model)'} ({type(part).__name__})")
        inner_drew[-1] = inner_drew[-1] or took

    handles = []
    try:
        for part in module.modules():
            handles.append(part.register_forward_pre_hook(begin))
            handles.append(part.register_forward_hook(end))
        run()
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(drew))


def _states() -> list[Tensor]:
    cuda = torch.cuda.get_rng_state_all() if _cuda_is_used() else []
    return [torch.get_rng_state(), *cuda]


def _cuda_is_used() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
