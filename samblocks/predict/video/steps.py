"""One frame: what the model is given of a state, and what is kept of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from samblocks.models.sam2.memory_bank import Sources, without_overlaps
from samblocks.predict.components import fill_holes
from samblocks.predict.video.freshness import Reads, reads, sources
from samblocks.predict.video.state import COND, OTHER, Output, Outputs, State, Track, no_outputs


def prompted(
    state: State,
    track: Track,
    frame: int,
    *,
    initial: bool,
    points: Mapping[str, Tensor] | None,
    mask: Tensor | None,
    earlier: Tensor | None,
) -> Output:
    """Answer a prompt on a frame of one object, without a memory.

    Args:
        state: of the video.
        track: the object's.
        frame: its number.
        initial: the frame reads no memory; otherwise what it read when it was tracked.
        points: "point_coords" [1, N, 2] in the model's pixels and "point_labels" [1, N].
        mask: [1, 1, S, S] zeros and ones, in place of points.
        earlier: [1, 1, S/4, S/4] logits of this frame that points correct.

    Returns:
        The answer.
    """
    reverse = bool(track.tracked.direction(frame)) and not initial
    outputs = no_outputs()
    if not initial:
        outputs = _stacked(state, [(track, sources(state, track, frame, reverse=reverse))])
    made = state.settings.model.track_step(
        frame_idx=frame,
        is_init_cond_frame=initial,
        **_features(state, frame, 1),
        point_inputs=points,
        mask_inputs=mask,
        output_dict=outputs,
        num_frames=1 if initial else state.frames_for(frame),
        track_in_reverse=reverse,
        run_mem_encoder=False,
        prev_sam_mask_logits=earlier,
    )
    [output] = _kept(state, made, [None])
    return output


def track_frame(state: State, tracks: Sequence[Track], frame: int, *, reverse: bool) -> None:
    """Track objects into a frame without prompts of theirs, all at once or one by one, and keep the results.

    Objects that read results of the same frames can be given to the model at once.

    Args:
        state: of the video.
        tracks: those objects that are to be tracked.
        frame: its number.
        reverse: tracking runs backwards.
    """
    groups: dict[Any, list[tuple[Track, Sources]]] = {}
    for number, track in enumerate(tracks):
        found = sources(state, track, frame, reverse=reverse)
        layout = ([at for at, _ in found.maps], [at for at, _ in found.pointers])
        groups.setdefault(repr(layout) if state.settings.batch_objects else number, []).append((track, found))
    apart = bool(state.settings.model.non_overlap_masks_for_mem_enc) and len(state.tracks) > 1
    masks: list[tuple[Track, Tensor]] = []
    for group in groups.values():
        made = state.settings.model.track_step(
            frame_idx=frame,
            is_init_cond_frame=False,
            **_features(state, frame, len(group)),
            point_inputs=None,
            mask_inputs=None,
            output_dict=_stacked(state, group),
            num_frames=state.frames_for(frame),
            track_in_reverse=reverse,
            run_mem_encoder=not apart,
            prev_sam_mask_logits=None,
        )
        for (track, _), output in zip(
            group, _kept(state, made, [reads(found) for _, found in group]), strict=True
        ):
            track.outputs[OTHER][frame] = output
        masks += [
            (track, made["pred_masks_high_res"][number : number + 1])
            for number, (track, _) in enumerate(group)
        ]
    if apart:
        _remember_apart(state, masks, frame)


def remember(
    state: State, output: Output, frame: int, *, high_res: Tensor | None = None, prompt: bool = True
) -> None:
    """Make the memory of an answer.

    Args:
        state: of the video.
        output: the answer, changed in place.
        frame: its number.
        high_res: [1, 1, S, S] logits; None takes the answer's own.
        prompt: the mask answers to a prompt, and is remembered as zeros and ones.
    """
    settings = state.settings
    given = _features(state, frame, 1)
    memory, encodings = settings.model._encode_new_memory(
        current_vision_feats=given["current_vision_feats"],
        feat_sizes=given["feat_sizes"],
        pred_masks_high_res=enlarged(state, output) if high_res is None else high_res,
        object_score_logits=output["object_score_logits"],
        is_mask_from_pts=prompt,
    )
    output["maskmem_features"] = _stored(state, memory)
    output["maskmem_pos_enc"] = state.encodings(encodings)


def enlarged(state: State, output: Output) -> Tensor:
    """An answer's mask at the model's size, [1, 1, S, S]."""
    settings, size = state.settings, state.settings.sides
    masks = output["pred_masks"].to(settings.device)
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False).to(settings.dtype)


def _remember_apart(state: State, masks: Sequence[tuple[Track, Tensor]], frame: int) -> None:
    """Make memories of tracked masks in which each pixel belongs to one of all the frame's objects."""
    here = {id(track): mask for track, mask in masks}
    everybody = []
    for track in state.tracks.values():
        output = track.known(frame, OTHER)
        if id(track) in here:
            everybody.append((track, here[id(track)]))
        elif output is not None and output["pred_masks"] is not None:
            everybody.append((track, enlarged(state, output)))
    apart = without_overlaps(torch.cat([mask for _, mask in everybody]))
    for number, (track, _) in enumerate(everybody):
        if id(track) in here:
            own = apart[number : number + 1]
            remember(state, track.outputs[OTHER][frame], frame, high_res=own, prompt=False)


def _features(state: State, frame: int, objects: int) -> dict[str, Any]:
    """A frame's features as `track_step` takes them, for some objects."""
    found = {
        name: [level.expand(objects, -1, -1, -1) for level in levels]
        for name, levels in state.features(frame).items()
    }
    _, maps, encodings, sizes = state.settings.model._prepare_backbone_features(found)
    return {
        "current_vision_feats": maps,
        "current_vision_pos_embeds": encodings,
        "feat_sizes": sizes,
    }


def _stacked(state: State, group: Sequence[tuple[Track, Sources]]) -> Outputs:
    """What objects read, and nothing else, as one `output_dict` with an object per batch item.

    Memories are brought to the model's precision here: as they are stored they would not fit its weights where no
    pointer is read with them.
    """
    settings, outputs = state.settings, no_outputs()
    read = [
        {at.frame: output for at, output in found.maps} | {at.frame: output for at, output in found.pointers}
        for _, found in group
    ]
    prompts = group[0][0].outputs[COND]
    maps = {at.frame for at, _ in group[0][1].maps}
    for frame, first in read[0].items():  # prompts in the order in which they were chosen
        entries = [own[frame] for own in read]
        stacked: Output = {"obj_ptr": torch.cat([output["obj_ptr"] for output in entries])}
        if frame in maps:
            memory = torch.cat([output["maskmem_features"] for output in entries])
            stacked["maskmem_features"] = memory.to(settings.device, settings.dtype)
            stacked["maskmem_pos_enc"] = [
                encoding.expand(len(entries), -1, -1, -1) for encoding in first["maskmem_pos_enc"]
            ]
        outputs[COND if prompts.get(frame) is first else OTHER][frame] = stacked
    return outputs


def _kept(state: State, made: Mapping[str, Any], read: Sequence[Reads | None]) -> list[Output]:
    """What is kept of the model's answer, object by object."""
    settings, outputs = state.settings, []
    masks = fill_holes(made["pred_masks"].to(settings.wide), settings.fill_hole_area)
    memory = made["maskmem_features"]
    for number, reads_of_it in enumerate(read):
        own = slice(number, number + 1)
        outputs.append(
            {
                "maskmem_features": None if memory is None else _stored(state, memory[own]),
                "maskmem_pos_enc": None if memory is None else state.encodings(made["maskmem_pos_enc"]),
                "pred_masks": _own(masks[own]).to(state.storage_device),
                "obj_ptr": _own(made["obj_ptr"][own]),
                "object_score_logits": _own(made["object_score_logits"][own]),
                "serial": next(state.serials),
                "reads": reads_of_it,
            }
        )
    return outputs


def _stored(state: State, memory: Tensor) -> Tensor:
    return _own(memory.to(state.settings.memory_dtype)).to(state.storage_device)


def _own(x: Tensor) -> Tensor:
    """A tensor with memory of its own: a part would keep the whole alive."""
    return x.clone()
