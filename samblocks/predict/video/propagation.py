"""Tracking: prompts join the results, then frame after frame is given, tracked where it has to be."""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import torch
from torch import Tensor

from samblocks.models.sam2.memory_bank import without_overlaps
from samblocks.predict.video.freshness import is_fresh
from samblocks.predict.video.history import bring_back, trim
from samblocks.predict.video.state import COND, OTHER, Output, State, Track
from samblocks.predict.video.steps import enlarged, remember, track_frame
from samblocks.predict.video.views import tracked_masks

Tracked = tuple[int, list[Hashable], Tensor]
"""Frame, objects, and their logits [N, 1, H, W], float32."""


def check_prompts(state: State) -> None:
    """Refuse to track without an object, or an object that was never shown.

    Raises:
        RuntimeError: as Meta does.
    """
    if not state.tracks:
        raise RuntimeError("there is no object: add prompts before tracking")
    for obj_id, track in state.tracks.items():
        if not track.outputs[COND] and not track.pending[COND]:
            raise RuntimeError(
                f"object {obj_id!r} has no frame with a prompt left: prompt it again, or take it away by remove_object"
            )


def settle(state: State) -> None:
    """Let answers to prompts join the results, each with its memory."""
    check_prompts(state)
    for track in state.tracks.values():
        for role in (OTHER, COND):
            for frame, output in track.pending[role].items():
                if output["maskmem_features"] is None:
                    remember(state, output, frame, high_res=_apart(state, track, output, frame))
                track.outputs[role][frame] = output
                if role == OTHER and state.settings.corrections == "stick":
                    track.corrected.add(frame)
                if state.settings.clear_non_cond_mem_around_input:
                    _clear_around(state, track, frame)
            track.pending[role].clear()
        for frame in track.outputs[COND]:
            track.outputs[OTHER].pop(frame, None)
            track.corrected.discard(frame)
    trim(state)


def propagate(state: State, start: int | None, most: int | None, *, reverse: bool) -> Iterator[Tracked]:
    """Give frame after frame; see `VideoPredictor.propagate_in_video`."""
    with torch.inference_mode():
        settle(state)
        frame = state.first_prompt() if start is None else start
        if not (reverse and frame == 0):
            bring_back(state, list(state.tracks.values()), frame, reverse=reverse)
    step, done = (-1, 0) if reverse else (1, 0)
    if reverse and frame == 0:
        return
    while (most is None or done <= most) and frame >= 0 and state.clip.has(frame):
        with torch.inference_mode():
            ids, masks = _frame(state, frame, reverse=reverse)
        yield frame, ids, masks
        frame, done = frame + step, done + 1


def _frame(state: State, frame: int, *, reverse: bool) -> tuple[list[Hashable], Tensor]:
    """Bring all objects' results of a frame up to date, and give their masks."""
    tracks = list(state.tracks.values())
    due = []
    for track in tracks:
        if frame in track.outputs[COND]:
            if state.settings.clear_non_cond_mem_around_input:
                _clear_around(state, track, frame)
        elif frame not in track.corrected and not is_fresh(state, track, frame, reverse=reverse):
            due.append(track)
    if due and bool(state.settings.model.non_overlap_masks_for_mem_enc):
        # Each object's memory depends on the others' masks.
        due = [track for track in tracks if frame not in track.outputs[COND] and frame not in track.corrected]
    if due:
        track_frame(state, due, frame, reverse=reverse)
    for track in tracks:
        track.tracked.add(frame, reverse=reverse)
    state.last = frame
    masks = tracked_masks(state, frame)
    trim(state)
    if not reverse:
        state.clip.release(frame, but=state.waiting())
    return state.obj_ids, masks


def _apart(state: State, track: Track, output: Output, frame: int) -> Tensor | None:
    """The mask that a prompt's memory is made of, where each pixel may belong to one of all the frame's objects."""
    if not state.settings.model.non_overlap_masks_for_mem_enc or len(state.tracks) < 2:
        return None
    masks: list[Tensor] = []
    own = 0
    for other in state.tracks.values():
        known = output if other is track else other.known(frame, COND)
        if other is track:
            own = len(masks)
        if known is not None and known["pred_masks"] is not None:
            masks.append(enlarged(state, known))
    return without_overlaps(torch.cat(masks))[own : own + 1]


def _clear_around(state: State, track: Track, frame: int) -> None:
    """Drop what was tracked near a frame with a prompt: it may still show what the prompt corrects."""
    model = state.settings.model
    reach = int(model.memory_temporal_stride_for_eval) * int(model.num_maskmem)
    for near in range(frame - reach, frame + reach + 1):
        if near not in track.corrected:
            track.outputs[OTHER].pop(near, None)
