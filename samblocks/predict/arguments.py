"""Arguments of predictors that are no number, no flag or no path: refused by name, before anything is done."""

from __future__ import annotations

import math
import os
from typing import Any, Final

import numpy as np
from torch import Tensor

from samblocks.errors import printable

_LARGEST: Final = 1 << 53


def number(value: Any, argument: str, *, least: float = -math.inf, what: str = "a number") -> Any:
    """A number as it is given, which is not NaN.

    Args:
        value: what was given.
        argument: what messages call it.
        least: what it must be at least.
        what: what it must be, in words.

    Returns:
        The value; of a tensor or an array without axes what it holds.

    Raises:
        ValueError: it is no number, or less than `least`.

    >>> number("0.9", "pred_iou_thresh")
    Traceback (most recent call last):
    ValueError: pred_iou_thresh='0.9' must be a number
    """
    found = value.item() if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else value
    wrong = not isinstance(found, int | float | np.number) or not least <= found
    # An integer beyond that no tensor is compared with; and NaN is equal to nothing.
    if wrong or found != found or (isinstance(found, int) and abs(found) > _LARGEST):
        raise ValueError(f"{argument}={shown(value)} must be {what}")
    return found


def flag(value: Any, argument: str) -> bool:
    """Yes or no: a truth value, or a number or None that stands for one.

    Raises:
        ValueError: it is something else, such as a text, of which "False" would be true.

    >>> flag("False", "multimask_output")
    Traceback (most recent call last):
    ValueError: multimask_output='False' must be True or False
    """
    single = not isinstance(value, Tensor | np.ndarray) or value.ndim == 0
    if not single or not isinstance(value, bool | int | float | np.generic | Tensor | np.ndarray | None):
        raise ValueError(f"{argument}={shown(value)} must be True or False")
    return bool(value)


def path(value: Any, argument: str, others: str = "") -> str:
    """A path as text.

    Raises:
        ValueError: it is none; a number would mean an open file of this process.

    >>> path(1, "embedding", "an Embedding or ")
    Traceback (most recent call last):
    ValueError: embedding=1 must be an Embedding or a path
    """
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"{argument}={shown(value)} must be {others}a path")
    return os.fspath(value)


def shown(value: object) -> str:
    """What was given, short and in one line."""
    if isinstance(value, Tensor | np.ndarray):
        return f"<{type(value).__name__} of shape {tuple(value.shape)}>"
    return printable(repr(value))
