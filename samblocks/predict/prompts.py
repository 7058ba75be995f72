"""Clicks, boxes and masks as people write them, in the shapes that a model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samblocks.errors import counted

Numbers = Any
"""A NumPy array, a tensor, or nested lists of numbers."""


@dataclass(frozen=True)
class Prompts:
    """B prompts for one picture.

    Attributes:
        points: coordinates [B, N, 2] as (x, y), and labels [B, N] of int32; or None.
        boxes: [B, 4] as (x, y) of both corners, or None.
        masks: logits [B, 1, h, w] of an earlier answer, or None; one mask may serve all prompts.
    """

    points: tuple[Tensor, Tensor] | None = None
    boxes: Tensor | None = None
    masks: Tensor | None = None

    def to(self, device: torch.device) -> Prompts:
        """The same on a device."""
        return Prompts(
            None if self.points is None else (self.points[0].to(device), self.points[1].to(device)),
            None if self.boxes is None else self.boxes.to(device),
            None if self.masks is None else self.masks.to(device),
        )


def read_prompts(
    point_coords: Numbers | None,
    point_labels: Numbers | None,
    box: Numbers | None,
    mask_input: Numbers | None,
    *,
    dtype: torch.dtype,
    low_res: tuple[int, int],
) -> Prompts:
    """Check prompts and bring them into shape.

    Args:
        point_coords: [N, 2] or [B, N, 2].
        point_labels: [N] or [B, N].
        box: [4], [B, 4], [B, 1, 4] or [B, 2, 2].
        mask_input: [1, h, w] or [B, 1, h, w].
        dtype: of the coordinates.
        low_res: the height and width that masks must have.

    Returns:
        What was given, copied, in `dtype`; labels as int32, masks in at least float32.

    Raises:
        ValueError: a shape is another, numbers are not finite, labels are missing or left over, or the batches of
            points, boxes and masks disagree; the message names the argument.
    """
    points = _points(point_coords, point_labels, dtype)
    boxes = None if box is None else _boxes(box, dtype)
    masks = None if mask_input is None else _masks(mask_input, dtype, low_res)
    if points is not None and boxes is not None and len(points[0]) != len(boxes):
        raise ValueError(
            f"box is for {counted(len(boxes), 'prompt')} and point_coords for {len(points[0])}: "
            f"point_coords must be [{len(boxes)}, N, 2], with the points of each box"
        )
    leading = points[0] if points is not None else boxes
    if masks is not None and leading is not None and len(masks) not in (1, len(leading)):
        raise ValueError(
            f"mask_input holds {counted(len(masks), 'mask')} for {counted(len(leading), 'prompt')}; it must hold 1 or "
            "as many"
        )
    return Prompts(points, boxes, masks)


def as_tensors(
    points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
) -> Prompts:
    """Prompts that are in the model's pixels already; points without labels are none.

    Raises:
        ValueError: one is no tensor, or no boxes; the message names the argument.
    """
    given = {"point_coords": points, "point_labels": labels, "boxes": boxes, "mask_input": masks}
    for argument, value in given.items():
        if value is not None and not isinstance(value, Tensor):
            raise ValueError(
                f"{argument} must be a tensor, not a {type(value).__name__}; predict takes arrays"
            )
    if points is not None and (points.ndim != 3 or points.shape[-1] != 2):
        raise ValueError(f"point_coords has shape {tuple(points.shape)}; it must be [B, N, 2]")
    if points is not None and labels is not None and labels.shape != points.shape[:2]:
        raise ValueError(f"point_labels has shape {tuple(labels.shape)}; it must be {list(points.shape[:2])}")
    if masks is not None and masks.ndim != 4:
        raise ValueError(f"mask_input has shape {tuple(masks.shape)}; it must be [B, 1, h, w]")
    if boxes is not None and boxes.shape[-1:] != (4,) and boxes.shape[-2:] != (2, 2):
        raise ValueError(f"boxes has shape {tuple(boxes.shape)}; it must be [B, 4] or [B, 2, 2]")
    pairs = None if points is None or labels is None else (points, labels)
    return Prompts(pairs, None if boxes is None else boxes.reshape(-1, 4), masks)


def _points(
    coords: Numbers | None, labels: Numbers | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor] | None:
    if coords is None:
        if labels is not None:
            raise ValueError("point_labels are given without point_coords")
        return None
    if labels is None:
        raise ValueError("point_labels must be given with point_coords: 1 on the object, 0 on the background")
    points, kinds = _numbers(coords, "point_coords", dtype), _numbers(labels, "point_labels", torch.int32)
    if points.ndim == 2:
        points = points[None]
    if points.ndim != 3 or points.shape[-1] != 2:
        raise ValueError(f"point_coords has shape {_shape(coords)}; it must be [N, 2] or [B, N, 2]")
    if kinds.ndim == 1:
        kinds = kinds[None]
    if kinds.shape != points.shape[:2]:
        raise ValueError(
            f"point_labels has shape {_shape(labels)} for point_coords of shape {_shape(coords)}; "
            "there must be one label for each point"
        )
    return points, kinds


def _boxes(box: Numbers, dtype: torch.dtype) -> Tensor:
    boxes = _numbers(box, "box", dtype)
    shape = tuple(boxes.shape)
    if not (shape == (4,) or (len(shape) in (2, 3) and (shape[1:] in ((4,), (1, 4), (2, 2))))):
        raise ValueError(f"box has shape {shape}; it must be [4] or [B, 4], as x0, y0, x1, y1")
    return boxes.reshape(-1, 4)


def _masks(mask_input: Numbers, dtype: torch.dtype, low_res: tuple[int, int]) -> Tensor:
    masks = _numbers(mask_input, "mask_input", dtype)
    shape = tuple(masks.shape)
    if masks.ndim == 3:
        masks = masks[None]
    if masks.ndim != 4 or tuple(masks.shape[1:]) != (1, *low_res):
        height, width = low_res
        raise ValueError(
            f"mask_input has shape {shape}; it must be logits [1, {height}, {width}] or [B, 1, {height}, {width}], "
            "as predict returns them last"
        )
    return masks


def _numbers(value: Numbers, argument: str, dtype: torch.dtype) -> Tensor:
    """A copy in `dtype`, detached; finite where numbers can be otherwise."""
    try:
        given = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))
        tensor = given.to(dtype, copy=True)
    except (TypeError, ValueError):
        raise ValueError(f"{argument} must be an array of numbers, not {type(value).__name__}") from None
    if given.is_floating_point() and not bool(given.isfinite().all()):
        raise ValueError(f"{argument} holds numbers that are not finite")
    return tensor


def _shape(value: Numbers) -> tuple[int, ...]:
    return tuple(np.shape(value))
