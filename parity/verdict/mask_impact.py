"""What a difference does to a user: pixels of masks that flip, another mask chosen, an object seen or not.

Beside the numeric verdict, never instead of it: masks that agree prove little, but a pixel that flips where
rounding cannot explain it is what a user would see.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_MASKS = re.compile(r"(^|[/_.])(masks(_\w+)?|mask|low_res_logits|decoded_\d+|candidates)(/\d+)?$")
_QUALITY = re.compile(r"(^|[/_.])(ious?|iou_predictions)(/\d+)?$")
_SCORES = re.compile(r"(^|[/_.])(object_score_logits|object_scores?|scores)(/\d+)?$")


@dataclass(frozen=True)
class Masks:
    """What becomes of masks, that is of logits above and below zero.

    Attributes:
        pixels: number of pixels.
        flipped: pixels that are foreground on one side only.
        unexplained: those of them whose logit is farther from zero than upstream's own error goes.
        iou: lowest intersection over union of two corresponding masks; 1 where both are empty.
        distance: the farthest that a flipped pixel lies from the edge of upstream's mask, in pixels; 1 is at it.
            None where nothing flipped, infinite where upstream's mask has no edge.
    """

    pixels: int
    flipped: int
    unexplained: int
    iou: float
    distance: float | None

    def __str__(self) -> str:
        if not self.flipped:
            return f"no pixel of {self.pixels} flips"
        where = "" if self.distance is None else f", at most {self.distance:g} px from the edge"
        return (
            f"{self.flipped} of {self.pixels} pixels flip ({self.flipped / self.pixels:.2g}), {self.unexplained} "
            f"beyond upstream's own error, mask IoU at least {self.iou:.6f}{where}"
        )


@dataclass(frozen=True)
class Choices:
    """How often another one of several masks is predicted to be the best."""

    decisions: int
    changed: int

    def __str__(self) -> str:
        if not self.changed:
            return "the same mask is predicted to be the best"
        return f"another mask is predicted to be the best in {self.changed} of {self.decisions}"


@dataclass(frozen=True)
class Signs:
    """How many objects are seen on one side only."""

    objects: int
    changed: int

    def __str__(self) -> str:
        if not self.changed:
            return "the same objects are seen"
        return f"{self.changed} of {self.objects} objects are seen on one side only"


Impact = Masks | Choices | Signs


def impact(
    path: str,
    ours: Tensor,
    upstream: Tensor,
    truth: Tensor | None = None,
    *,
    among: Mapping[str, Tensor] | None = None,
) -> Impact | None:
    """What the difference between two outputs does; None where the output's name says that it decides nothing.

    A model chooses one mask for each prompt, and in each frame. Where a case joins the qualities of several into one
    output, the other outputs tell how many belong together: one called `<path>_widths`, or the masks of the prompts.

    Args:
        path: the output's name: masks, iou predictions and object scores are told by it.
        ours: our output.
        upstream: upstream's, of the same shape.
        truth: upstream's in float64; without it every flipped pixel counts as unexplained.
        among: all outputs of the case by name.
    """
    if (
        ours.shape != upstream.shape
        or not ours.numel()
        or not (ours.is_floating_point() or ours.dtype is torch.bool)
    ):
        return None
    if _MASKS.search(path) and ours.ndim >= 3:
        return _masks(ours, upstream, truth)
    if not ours.is_floating_point():
        return None
    if _QUALITY.search(path) and ours.ndim:
        return _choices(ours, upstream, _widths(path, ours, among or {}))
    if _SCORES.search(path):
        return Signs(ours.numel(), int(((ours > 0) != (upstream > 0)).sum()))
    return None


def as_json(found: Impact) -> dict[str, Any]:
    """The figures as plain data, with their kind."""
    return {
        "kind": type(found).__name__.lower(),
        **{name: str(value) if value == float("inf") else value for name, value in vars(found).items()},
    }


def together(found: list[Impact]) -> str:
    """One line about all outputs of a case: each kind's figures, added up or the worst of them."""
    parts = []
    if masks := [one for one in found if isinstance(one, Masks)]:
        distances = [one.distance for one in masks if one.distance is not None]
        parts.append(
            str(
                Masks(
                    sum(one.pixels for one in masks),
                    sum(one.flipped for one in masks),
                    sum(one.unexplained for one in masks),
                    min(one.iou for one in masks),
                    max(distances, default=None),
                )
            )
        )
    if choices := [one for one in found if isinstance(one, Choices)]:
        parts.append(str(Choices(sum(c.decisions for c in choices), sum(c.changed for c in choices))))
    if signs := [one for one in found if isinstance(one, Signs)]:
        parts.append(str(Signs(sum(s.objects for s in signs), sum(s.changed for s in signs))))
    return "; ".join(parts)


def _widths(path: str, qualities: Tensor, among: Mapping[str, Tensor]) -> Sequence[int]:
    """How many qualities belong to one prompt after another, along the last axis."""
    widths = among.get(f"{path}_widths")
    if widths is not None:
        return [int(width) for width in widths]
    masks = [value for name, value in among.items() if name.endswith("/masks") and value.ndim == 4]
    found = [value.shape[1] for value in masks for _ in range(value.shape[0])]
    total = qualities.shape[-1]
    return found if qualities.ndim == 1 and sum(found) == total else [total]


def _choices(ours: Tensor, upstream: Tensor, widths: Sequence[int]) -> Choices | None:
    """Each choice between several masks; None where there is nothing to choose from."""
    decisions = changed = 0
    for mine, theirs in zip(
        torch.split(ours, list(widths), -1), torch.split(upstream, list(widths), -1), strict=True
    ):
        if mine.shape[-1] > 1:
            different = mine.argmax(-1) != theirs.argmax(-1)
            decisions, changed = decisions + different.numel(), changed + int(different.sum())
    return Choices(decisions, changed) if decisions else None


def _masks(ours: Tensor, upstream: Tensor, truth: Tensor | None) -> Masks:
    mine, theirs = ours > 0, upstream > 0
    flips = mine != theirs
    flipped = int(flips.sum())
    if truth is None or truth.shape != upstream.shape or upstream.dtype is torch.bool:
        unexplained = flipped
    else:
        error = float((upstream.double() - truth.double()).abs().max())
        unexplained = int((flips & (truth.abs() > error)).sum())
    both = (mine & theirs).flatten(-2).sum(-1).double()
    either = (mine | theirs).flatten(-2).sum(-1).double()
    iou = float(torch.where(either > 0, both / either.clamp(min=1), 1.0).min())
    return Masks(ours.numel(), flipped, unexplained, iou, _distance(flips, theirs) if flipped else None)


def _distance(flips: Tensor, mask: Tensor) -> float:
    """Largest distance of a flipped pixel to the nearest pixel of the other kind, in steps of a chess king."""
    height, width = mask.shape[-2:]
    left = flips.reshape(-1, 1, height, width)
    concerned = left.flatten(1).any(1)
    left = left[concerned]
    grown = mask.reshape(-1, 1, height, width)[concerned].float()
    shrunk = grown
    for step in range(1, max(height, width)):
        grown = F.max_pool2d(grown, 3, 1, 1)
        shrunk = -F.max_pool2d(-shrunk, 3, 1, 1)
        left = left & (grown == shrunk)  # nothing of the other kind within `step`
        if not bool(left.any()):
            return float(step)
    return float("inf")
