"""Masks as callers get them: at the video's size, of all objects."""

from __future__ import annotations

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from torch import Tensor

from samblocks.models.sam2.heads import NO_OBJECT_LOGIT
from samblocks.models.sam2.memory_bank import without_overlaps
from samblocks.predict.video.history import bring_back
from samblocks.predict.video.state import OTHER, Role, State

Answer = tuple[int, list[Hashable], Tensor]
"""Frame, objects, and their logits [N, 1, H, W], float32."""


def answer(state: State, frame: int, role: Role) -> Answer:
    """What is known of a frame, of pending answers those of one role; objects of which nothing is known are absent."""
    gone = []
    for track in state.tracks.values():
        output = track.known(frame, role)
        if track.tracked.direction(frame) is not None and (output is None or output["pred_masks"] is None):
            gone.append(track)
    bring_back(state, gone, frame)
    masks = []
    for track in state.tracks.values():
        output = track.known(frame, role)
        if output is None or output["pred_masks"] is None:
            size = (1, 1, state.clip.height, state.clip.width)
            masks.append(torch.full(size, NO_OBJECT_LOGIT, device=state.settings.device))
        else:
            masks.append(_sized(state, output["pred_masks"]))
    return frame, state.obj_ids, _apart(state, torch.cat(masks))


def tracked_masks(state: State, frame: int) -> Tensor:
    """The results of all objects on a frame, [N, 1, H, W]."""
    outputs = [track.known(frame, OTHER) for track in state.tracks.values()]
    masks = torch.cat([output["pred_masks"] for output in outputs if output is not None])
    return _apart(state, _sized(state, masks))


def _sized(state: State, masks: Tensor) -> Tensor:
    size = (state.clip.height, state.clip.width)
    masks = masks.to(state.settings.device)
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)


def _apart(state: State, masks: Tensor) -> Tensor:
    return without_overlaps(masks) if state.settings.non_overlap_masks else masks
