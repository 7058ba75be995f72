"""What is kept of a long video, and how what is not kept comes back.

In the window are, on both sides of every frame with prompts and of the last frame, the memories and pointers that
tracking could go on from: 6 and 15 frames for the released models. So memory does not grow with the video. When
something older is needed, it is tracked again from the nearest frame with prompts, which gives the same results.
"""

from __future__ import annotations

from collections.abc import Sequence

from samblocks.predict.video.clips import Stream
from samblocks.predict.video.state import COND, OTHER, State, Track
from samblocks.predict.video.steps import track_frame


def trim(state: State) -> None:
    """Drop what the window has passed."""
    if state.history == "window":
        visits = [frame for frame in (state.last, state.visited) if frame is not None]
        for track in state.tracks.values():
            _trim(track, [*track.pending[COND], *visits], state.settings.reach)


def bring_back(state: State, tracks: Sequence[Track], frame: int, *, reverse: bool | None = None) -> None:
    """Track again what is needed on a frame and was dropped.

    Args:
        state: of the video.
        tracks: the objects concerned.
        frame: its number.
        reverse: the frame is about to be tracked in this direction; None for as it was, and then its own result comes
            back too.

    Raises:
        ValueError: the pixels that this takes are gone.
    """
    if state.history == "all" or not tracks:
        return
    for track in tracks:
        _bring_back(state, track, frame, reverse)
    state.visited = frame
    trim(state)


def _bring_back(state: State, track: Track, frame: int, reverse: bool | None) -> None:
    backwards = track.tracked.direction(frame) if reverse is None else reverse
    if backwards is None:
        return
    maps, pointers = state.settings.reach
    step = 1 if backwards else -1
    needed = [(frame + step * far, far <= maps) for far in range(1, max(maps, pointers) + 1)]
    if reverse is None:
        needed.append((frame, True))
    for way in (False, True):
        missing = [
            at
            for at, whole in needed
            if track.tracked.direction(at) is way and _lacks(track, at, whole=whole)
        ]
        if missing:
            _track_again(state, track, min(missing), max(missing), frame, reverse=way)


def _track_again(state: State, track: Track, first: int, last: int, frame: int, *, reverse: bool) -> None:
    """Track an object through frames for the sake of one that needs them, from where all is at hand."""
    back = 1 if reverse else -1
    at, end = (last, first) if reverse else (first, last)
    while not _complete_behind(track, at, back, state.settings.reach):
        at += back
    if isinstance(state.clip, Stream) and at not in state.clip.held:
        raise ValueError(
            f"frame {frame} needs what was tracked on frame {at}, which history='window' has dropped and whose pixels "
            "are gone: use history='all', or give the frames as a folder, a file or an array"
        )
    visits = [visit for visit in (state.last, state.visited) if visit is not None]
    while at != end - back:
        if _lacks(track, at, whole=True):
            track_frame(state, [track], at, reverse=reverse)
            track.tracked.add(at, reverse=reverse)
            _trim(track, [*track.pending[COND], *visits, at, frame], state.settings.reach)
        at -= back


def _trim(track: Track, anchors: Sequence[int], reach: tuple[int, int]) -> None:
    """Drop what lies far from frames with prompts and from some others."""
    (maps, pointers), anchors = reach, [*track.outputs[COND], *anchors]
    for frame in [frame for frame in track.outputs[OTHER] if frame not in track.corrected]:
        distance = min((abs(frame - anchor) for anchor in anchors), default=0)
        output = track.outputs[OTHER][frame]
        if distance > maps:
            output["maskmem_features"] = output["maskmem_pos_enc"] = output["pred_masks"] = None
        if distance > max(maps, pointers):
            del track.outputs[OTHER][frame]


def _complete_behind(track: Track, frame: int, step: int, reach: tuple[int, int]) -> bool:
    """Whether all is there that a frame reads of those tracked before it."""
    maps, pointers = reach
    return not any(
        _lacks(track, frame + step * distance, whole=distance <= maps)
        for distance in range(1, max(maps, pointers) + 1)
    )


def _lacks(track: Track, frame: int, *, whole: bool) -> bool:
    """Whether a frame was tracked and its result, or all of it but the pointer, is not there any more."""
    if track.tracked.direction(frame) is None or frame in track.outputs[COND]:
        return False
    output = track.outputs[OTHER].get(frame)
    return output is None or (whole and output["pred_masks"] is None)
