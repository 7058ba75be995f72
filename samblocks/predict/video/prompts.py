"""Prompts: what users say about an object on a frame, checked before anything changes, and the answer to it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samblocks.predict.arguments import flag, shown
from samblocks.predict.video.history import bring_back
from samblocks.predict.video.state import COND, OTHER, Role, State, Track
from samblocks.predict.video.steps import prompted
from samblocks.predict.video.views import Answer, answer


def add_points(
    state: State,
    frame: int,
    obj_id: Hashable,
    points: Any,
    labels: Any,
    box: Any,
    *,
    clear_old_points: bool,
    normalize_coords: bool,
) -> Answer:
    """Prompt an object by points, a box or both; see `VideoPredictor.add_new_points_or_box`."""
    frame = _frame(state, frame)
    clear_old_points = flag(clear_old_points, "clear_old_points")
    normalize_coords = flag(normalize_coords, "normalize_coords")
    wide = state.settings.wide
    coords, marks = _points(points, labels, wide)
    if box is not None:
        if not clear_old_points:
            raise ValueError(
                "clear_old_points=False: a box needs clear_old_points=True, it comes before all points"
            )
        coords = torch.cat([_box(box, wide), coords], dim=1)
        marks = torch.cat([torch.tensor([[2, 3]], dtype=torch.int32), marks], dim=1)
    elif points is None:
        raise ValueError("points: give points with labels, or a box")
    if normalize_coords:
        coords = coords / torch.tensor([state.clip.width, state.clip.height], dtype=wide)
    coords = (coords * coords.new_tensor(state.settings.sides[::-1])).to(state.settings.device)
    marks = marks.to(state.settings.device)
    track = _track(state, obj_id)
    if not clear_old_points and frame in track.points:
        old = track.points[frame]
        coords = torch.cat([old["point_coords"], coords], dim=1)
        marks = torch.cat([old["point_labels"], marks], dim=1)
    return _prompt(state, frame, obj_id, track, {"point_coords": coords, "point_labels": marks}, None)


def add_mask(state: State, frame: int, obj_id: Hashable, mask: Any) -> Answer:
    """Prompt an object by a mask; see `VideoPredictor.add_new_mask`."""
    frame = _frame(state, frame)
    size = state.settings.sides
    values = _mask(mask)[None, None].to(state.settings.device, state.settings.wide)
    if values.shape[-2:] != size:
        values = F.interpolate(values, size=size, mode="bilinear", align_corners=False, antialias=True)
        values = (values >= 0.5).to(values.dtype)
    return _prompt(state, frame, obj_id, _track(state, obj_id), None, values)


def clear_frame(state: State, frame: int, obj_id: Hashable) -> Role:
    """Take back what was said about an object on a frame; a result of it stays as if it had been tracked.

    Returns:
        The role whose pending answers are to be shown.
    """
    frame = _frame(state, frame)
    known(obj_id)
    if obj_id not in state.tracks:
        raise ValueError(f"obj_id={shown(obj_id)} is unknown; objects are {shown(state.obj_ids)}")
    track = state.tracks[obj_id]
    track.points.pop(frame, None)
    track.masks.pop(frame, None)
    for part in track.pending.values():
        part.pop(frame, None)
    track.corrected.discard(frame)
    output = track.outputs[COND].pop(frame, None)
    if output is not None:
        track.outputs[OTHER][frame] = output
        track.tracked.discard(frame)
    elif frame in track.outputs[OTHER]:
        track.outputs[OTHER][frame]["reads"] = None  # so that it is tracked again
    return pending_role(state, frame)


def pending_role(state: State, frame: int) -> Role:
    """The role of pending answers on a frame: that of frames with prompts if any object has one."""
    return COND if any(frame in track.pending[COND] for track in state.tracks.values()) else OTHER


def _prompt(
    state: State,
    frame: int,
    obj_id: Hashable,
    track: Track,
    points: dict[str, Tensor] | None,
    mask: Tensor | None,
) -> Answer:
    # Without any frame with prompts there is no memory either: the object starts anew.
    initial = track.tracked.direction(frame) is None or not track.outputs[COND]
    role = COND if initial else _role(state, track, frame)
    if not initial:
        bring_back(state, [track], frame)
    earlier = track.known(frame, role) if points is not None else None
    logits = None
    if earlier is not None and earlier["pred_masks"] is not None:
        logits = earlier["pred_masks"].to(state.settings.device, state.settings.dtype).clamp(-32.0, 32.0)
    output = prompted(state, track, frame, initial=initial, points=points, mask=mask, earlier=logits)

    state.tracks[obj_id] = track
    track.points.pop(frame, None)
    track.masks.pop(frame, None)
    if points is not None:
        track.points[frame] = points
    elif mask is not None:
        track.masks[frame] = mask
    track.pending[role][frame] = output
    return answer(state, frame, role)


def _role(state: State, track: Track, frame: int) -> Role:
    """What an answer on a tracked frame becomes: a frame with prompts, or one that is read like any tracked one."""
    settings = state.settings
    prompted_before = frame in track.outputs[COND] or frame in track.pending[COND]
    stays = settings.corrections == "stick" and prompted_before
    return COND if settings.add_all_frames_to_correct_as_cond or stays else OTHER


def _track(state: State, obj_id: Hashable) -> Track:
    """What is known of an object, or a new one, which does not belong to the state yet."""
    known(obj_id)
    return state.tracks.get(obj_id) or Track()


def known(obj_id: Hashable) -> None:
    """Refuse what can name no object.

    Raises:
        ValueError: it is not hashable.
    """
    try:
        hash(obj_id)
    except TypeError:
        raise ValueError(f"obj_id={shown(obj_id)} must be hashable, such as a number or a string") from None


def _frame(state: State, frame: int) -> int:
    state.clip.check(frame)
    return int(frame)


def _points(points: Any, labels: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Points [1, N, 2] and labels [1, N]; none where none are given."""
    if (points is None) != (labels is None):
        raise ValueError("points and labels must be given together")
    if points is None:
        return torch.zeros(1, 0, 2, dtype=dtype), torch.zeros(1, 0, dtype=torch.int32)
    coords, marks = _numbers(points, "points", dtype), _numbers(labels, "labels", dtype)
    coords = coords[None] if coords.ndim == 2 else coords
    marks = marks[None] if marks.ndim == 1 else marks
    if coords.ndim != 3 or len(coords) != 1 or coords.shape[-1] != 2 or marks.shape != coords.shape[:2]:
        raise ValueError(
            f"points and labels have shapes {_shape(points)} and {_shape(labels)}; they must be (N, 2) and (N,)"
        )
    if not coords.isfinite().all():
        raise ValueError("points hold NaN or infinity")
    if not (marks == marks.round()).all():
        raise ValueError(
            f"labels={shown(marks.flatten().tolist())} must be whole: 1 is inside and 0 outside the object, 2 and 3 "
            "are corners of a box"
        )
    return coords, marks.to(torch.int32)


def _box(box: Any, dtype: torch.dtype) -> Tensor:
    corners = _numbers(box, "box", dtype)
    if corners.numel() != 4 or not corners.isfinite().all():
        raise ValueError(f"box has shape {_shape(box)}; it must be four numbers, x0, y0, x1, y1, of one box")
    return corners.reshape(1, 2, 2)


def _numbers(values: Any, argument: str, dtype: torch.dtype) -> Tensor:
    try:
        return torch.as_tensor(values if isinstance(values, Tensor) else np.asarray(values)).to("cpu", dtype)
    except (TypeError, ValueError):
        raise ValueError(f"{argument} must be numbers, found {shown(values)}") from None


def _mask(mask: Any) -> Tensor:
    """A mask [H, W] as float32: of arrays what is not 0 is foreground, tensors may hold parts from 0 to 1."""
    if not isinstance(mask, Tensor | np.ndarray | Sequence) or isinstance(mask, str):
        raise ValueError(f"mask={shown(mask)} must be an array or a tensor (H, W), of one object")
    values = mask if isinstance(mask, Tensor) else torch.as_tensor(np.asarray(mask) != 0)
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"mask has shape {tuple(values.shape)}; it must be (H, W), of one object")
    if not values.is_floating_point():
        return (values != 0).float()
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"mask holds {values.dtype} from {values.min():g} to {values.max():g}; a floating-point mask must be "
            "from 0 to 1: compare it with its threshold"
        )
    return values.float()


def _shape(values: Any) -> tuple[int, ...]:
    return tuple(np.shape(values))
