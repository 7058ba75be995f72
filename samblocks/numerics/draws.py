"""Where one R is luck: the verdict over several draws of weights and inputs.

R of one draw is luck where few numbers decide: an honest implementation is above 2 in two of a thousand, and above 4
now and then. Its geometric mean over draws is not: over 8 it stays below 1.6, over 16 below 1.3, while a bug stays
where it was. So an R above the bound is a first alarm, upon which more is drawn:

    R ≤ 2 in the first draw                 holds
    R > 50                                  fails: no honest run comes near it
    else the first draw, which was selected by its R, is not counted, and over 8 others the geometric mean
        ≤ 1.7                               holds
        > 2.0                               fails
        between                             holds if it is ≤ 1.7 over 16

An R below 0.5 counts as 0.5, so that a few lucky draws cannot hide a bad one. A draw that is not finite on our side
alone fails at once. A bound other than 2 scales 1.7 and 2.0 with it.
"""

import math
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from samblocks.numerics.verdict import (
    ANOTHER_FUNCTION,
    BOUND,
    LESS_PRECISE,
    UNDECIDED,
    Comparison,
    Verdict,
)

FEW, MANY = 8, 16
"""How many further draws decide, and how many where these leave it open."""

REDRAWN = 50.0
"""The largest R of a first draw after which more is drawn."""

_HOLDS, _FAILS, _LEAST = 1.7, 2.0, 0.5

Found = TypeVar("Found", bound=Comparison)
Key = TypeVar("Key", bound=Hashable)


def undecided(first: Comparison, bound: float = BOUND) -> bool:
    """Whether a comparison in a working precision is a first alarm, which further draws decide."""
    return first.verdict is Verdict.DIVERGED and first.excess is not None and bound < first.excess <= REDRAWN


def first_alarms(
    first: Mapping[Key, Found],
    double: Mapping[Key, Comparison],
    bounds: Mapping[Key, float] | None = None,
    need_double: Container[Key] = (),
) -> dict[Key, Found]:
    """The comparisons of a first draw that further draws decide: float64 decides first.

    Args:
        first: by any key, the comparisons in a working precision.
        double: those in float64, of what could be compared there.
        bounds: by key, the largest R that holds; 2 where it is missing.
        need_double: keys whose further draws mean something only if float64 has shown the same function.
    """
    bounds = bounds or {}

    def open_in_float64(key: Key) -> bool:
        return not double[key].verdict.failed if key in double else key not in need_double

    return {
        key: found
        for key, found in first.items()
        if undecided(found, bounds.get(key, BOUND)) and open_in_float64(key)
    }


def settle(
    first: Mapping[Key, Found],
    draw: Callable[[int], Mapping[Key, Comparison]],
    bounds: Mapping[Key, float] | None = None,
    same: Container[Key] = (),
) -> dict[Key, Found]:
    """Judge first alarms by further draws.

    Args:
        first: by any key, the comparisons of the first draw that are `undecided`.
        draw: gives the comparisons of draw 1, 2, … by the same keys; one that it leaves out cannot be varied.
        bounds: by key, the largest R that holds; 2 where it is missing.
        same: keys that float64 has shown to be the same function: that decides those that cannot be varied.

    Returns:
        The settled comparisons by key. Their `ratio` is the geometric mean, `draws` how many it is of. Keys that
        neither can be varied nor are `same` are left out.
    """
    bounds = bounds or {}
    settled: dict[Key, Found] = {}
    fixed: set[Key] = set()
    seen: dict[Key, list[float]] = {key: [] for key in first}
    for number in range(1, MANY + 1):
        waiting = [key for key in first if key not in settled and key not in fixed]
        if not waiting:
            break
        found = draw(number)
        for key in waiting:
            bound = bounds.get(key, BOUND)
            one = found.get(key)
            if one is None:
                fixed.add(key)
                continue
            if one.verdict.failed and one.excess is None:
                settled[key] = replace(first[key], draws=number, cause=f"in draw {number}: {one.cause}")
                continue
            seen[key].append(one.excess or 0.0)
            decided = _decide(seen[key], bound)
            if decided is not None:
                settled[key] = _settled(first[key], seen[key], bound, decided)
    return settled | {key: _by_float64(first[key]) for key in fixed if key in same}


def geometric_mean(ratios: Iterable[float]) -> float:
    """The geometric mean of R over draws, each counted as at least 0.5."""
    logs = [math.log(max(ratio, _LEAST)) for ratio in ratios]
    return math.exp(math.fsum(logs) / len(logs))


def _decide(ratios: list[float], bound: float) -> bool | None:
    """Whether so many draws hold; None where more must be drawn."""
    scale = bound / BOUND
    if len(ratios) not in (FEW, MANY):
        return None
    mean = geometric_mean(ratios)
    if mean <= _HOLDS * scale:
        return True
    return False if len(ratios) == MANY or mean > _FAILS * scale else None


def _settled(first: Found, ratios: list[float], bound: float, holds: bool) -> Found:
    mean, limit = geometric_mean(ratios), (_HOLDS if holds or len(ratios) == MANY else _FAILS) * bound / BOUND
    figures = f"R {first.excess:.3g} in the first draw, {mean:.3g} over {len(ratios)} others"
    cause = figures if holds else f"{LESS_PRECISE}: {figures}, above {limit:g}"
    verdict = Verdict.WITHIN if holds else Verdict.DIVERGED
    return replace(first, verdict=verdict, ratio=mean, draws=len(ratios), cause=cause)


def _by_float64(first: Found) -> Found:
    return replace(first, verdict=Verdict.WITHIN, cause=f"one draw, R {first.excess:.3g}: decided by float64")


def vary(value: Tensor, name: str) -> Tensor:
    """X · (1 + u / 8), u uniform in [−1, 1) from the stream called `name`, rounded to the dtype of x, laid out as x.

    The stream is one that NumPy has frozen, so that every platform draws the same.

    Args:
        value: floating-point or complex, of any shape; integers and booleans come back as they are.
        name: of the stream.
    """
    if not (value.is_floating_point() or value.is_complex()):
        return value
    uniform = -1.0 + 2.0 * np.random.RandomState(crc32(name.encode())).random_sample(tuple(value.shape))
    factor = torch.from_numpy(np.asarray(1.0 + uniform / 8.0))
    wide = value.detach().cpu().to(torch.complex128 if value.is_complex() else torch.float64)
    changed = torch.empty_like(value)
    changed.copy_((wide * factor).to(value.dtype))
    return changed


def decided(
    first: Mapping[str, Found],
    double: Mapping[str, Comparison],
    draw: Callable[[int], Mapping[str, Comparison]],
    bounds: Mapping[str, float] | None = None,
) -> dict[str, Found]:
    """Answer both questions on every output of a run.

    Args:
        first: the comparisons in a working precision, by output.
        double: those in float64, of outputs that could be compared there.
        draw: as `settle` takes it.
        bounds: by output, the largest R that holds; 2 where it is missing.

    Returns:
        The comparisons by output. Those that fail say by their cause which question failed.
    """
    settled = settle(first_alarms(first, double, bounds), draw, bounds, same=double)
    return {key: answered(settled.get(key, found), double.get(key)) for key, found in first.items()}


def answered(found: Found, double: Comparison | None) -> Found:
    """A comparison in a working precision with what float64 says: another function fails, however small its R is."""
    if double is not None and double.verdict.failed:
        return replace(found, verdict=Verdict.DIVERGED, cause=double.cause)
    return with_question(found, double)


def with_question(found: Found, double: Comparison | None) -> Found:
    """A comparison in a working precision; if it failed by its R, its cause names the question that it answers."""
    if found.verdict is not Verdict.DIVERGED or found.ratio is None:
        return found
    if found.cause.startswith((ANOTHER_FUNCTION, LESS_PRECISE)):
        return found
    question = UNDECIDED if double is None else ANOTHER_FUNCTION if double.verdict.failed else LESS_PRECISE
    return replace(found, cause=f"{question}: {found.cause}")
