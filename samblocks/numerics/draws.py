"""The verdict over several draws of weights and inputs, where one R is luck: see `samblocks.numerics.rule`.

A draw that is not finite on our side alone fails at once.
"""

from collections.abc import Callable, Container, Hashable, Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from samblocks.numerics.rule import MANY, alarming, decide, factors, geometric_mean, limit
from samblocks.numerics.verdict import (
    ANOTHER_FUNCTION,
    BOUND,
    LESS_PRECISE,
    UNDECIDED,
    Comparison,
    Verdict,
)

Found = TypeVar("Found", bound=Comparison)
Key = TypeVar("Key", bound=Hashable)


def undecided(first: Comparison, bound: float = BOUND) -> bool:
    """Whether a comparison in a working precision is a first alarm, which further draws decide."""
    return first.verdict is Verdict.DIVERGED and first.excess is not None and alarming(first.excess, bound)


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
            decided = decide(seen[key], bound)
            if decided is not None:
                settled[key] = _settled(first[key], seen[key], bound, decided)
    return settled | {key: _by_float64(first[key]) for key in fixed if key in same}


def _settled(first: Found, ratios: list[float], bound: float, holds: bool) -> Found:
    mean, most = geometric_mean(ratios), limit(len(ratios), bound, holds=holds)
    figures = f"R {first.excess:.3g} in the first draw, {mean:.3g} over {len(ratios)} others"
    cause = figures if holds else f"{LESS_PRECISE}: {figures}, above {most:g}"
    verdict = Verdict.WITHIN if holds else Verdict.DIVERGED
    return replace(first, verdict=verdict, ratio=mean, draws=len(ratios), cause=cause)


def _by_float64(first: Found) -> Found:
    return replace(first, verdict=Verdict.WITHIN, cause=f"one draw, R {first.excess:.3g}: decided by float64")


def vary(value: Tensor, name: str) -> Tensor:
    """X · (1 + u / 8), see `samblocks.numerics.rule.factors`, rounded to the dtype of x and laid out as x.

    Args:
        value: floating-point or complex, of any shape; integers and booleans come back as they are.
        name: of the stream.
    """
    if not (value.is_floating_point() or value.is_complex()):
        return value
    factor = torch.from_numpy(factors(tuple(value.shape), name))
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
