"""What adapters of other libraries' predictors have in common: what none of these takes from Meta's."""

from collections.abc import Mapping
from typing import Any

from parity.execution.case import NoCounterpart

LARGEST_LOGIT = 32.0
"""Meta's predictor of SAM 2's pictures cuts logits that it gives back to it; others give them as they are."""

_OURS = {"corrections", "batch_objects", "history", "memory_dtype"}
"""Settings of our predictor of videos that change nothing of what a library without them does."""


def refuse(others: Mapping[str, Any], owner: str) -> None:
    """Have no counterpart for arguments that the owner ("its predictor has") does not take."""
    if others:
        raise NoCounterpart(f"{owner} no {', '.join(others)}")


def check_video_settings(settings: Mapping[str, Any], fills: str, owner: str) -> None:
    """Have no counterpart for filled holes (`fills` says why), and for settings that are not ours alone."""
    if settings.get("fill_hole_area", 8):
        raise NoCounterpart(fills)
    refuse(dict.fromkeys(sorted(set(settings) - _OURS - {"fill_hole_area"})), owner)
