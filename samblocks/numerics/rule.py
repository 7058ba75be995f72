"""Where one R is luck: the rule by which several draws decide. NumPy only: it travels with exported files.

R of one draw is luck where few numbers decide: an honest implementation is above 2 in two of a thousand, and above 4
now and then. Its geometric mean over draws is not: over 8 it stays below 1.6, over 16 below 1.3, while a bug stays
where it was. So an R above the bound is a first alarm, upon which more is drawn:

    R ≤ 2 in the first draw                 holds
    R > 50                                  fails: no honest run comes near it
    else the first draw, which was selected by its R, is not counted, and over 8 others the geometric mean
        ≤ 1.7                               holds
        > 2.0                               fails
        between                             holds if it is ≤ 1.7 over 16

An R below 0.5 counts as 0.5, so that a few lucky draws cannot hide a bad one. A bound other than 2 scales 1.7 and 2.0
with it.
"""

import math
from collections.abc import Iterable, Sequence
from zlib import crc32

import numpy as np

FEW, MANY = 8, 16
"""How many further draws decide, and how many where these leave it open."""

REDRAWN = 50.0
"""The largest R of a first draw after which more is drawn."""

_BOUND, _HOLDS, _FAILS, _LEAST = 2.0, 1.7, 2.0, 0.5


def alarming(ratio: float, bound: float) -> bool:
    """Whether an R is a first alarm, which further draws decide."""
    return bound < ratio <= REDRAWN


def geometric_mean(ratios: Iterable[float]) -> float:
    """The geometric mean of R over draws, each counted as at least 0.5."""
    logs = [math.log(max(ratio, _LEAST)) for ratio in ratios]
    return math.exp(math.fsum(logs) / len(logs))


def decide(ratios: Sequence[float], bound: float) -> bool | None:
    """Whether so many further draws hold; None where more must be drawn."""
    if len(ratios) not in (FEW, MANY):
        return None
    mean = geometric_mean(ratios)
    if mean <= _HOLDS * bound / _BOUND:
        return True
    return False if len(ratios) == MANY or mean > _FAILS * bound / _BOUND else None


def limit(draws: int, bound: float, *, holds: bool) -> float:
    """What the geometric mean over so many draws was held against."""
    return (_HOLDS if holds or draws == MANY else _FAILS) * bound / _BOUND


def factors(shape: tuple[int, ...], name: str) -> np.ndarray:
    """1 + u / 8 of a shape in float64, u uniform in [−1, 1) from the stream called `name`.

    The stream is one that NumPy has frozen, so that every platform draws the same.
    """
    uniform = -1.0 + 2.0 * np.random.RandomState(crc32(name.encode())).random_sample(shape)
    return np.asarray(1.0 + uniform / 8.0)
