"""Which results would come out again: what a frame reads now, against what its result was made from.

Every result has a serial number, and a tracked one keeps those of all that it read, in order. So whether tracking a
frame again would change it is known without doing it.
"""

from __future__ import annotations

from typing import Any

from samblocks.models.sam2.memory_bank import Sources, memory_sources
from samblocks.predict.video.state import COND, OTHER, Output, State, Track

Reads = tuple[tuple[Any, ...], ...]


def sources(state: State, track: Track, frame: int, *, reverse: bool) -> Sources:
    """The results of an object that a frame reads."""
    return memory_sources(frame, track.outputs, state.frames_for(frame), reverse, config=state.settings.model)


def reads(found: Sources) -> Reads:
    """What tells equal sources from others: frame, place in time and serial number of each, in order."""
    maps = tuple(("map", *at, output["serial"]) for at, output in found.maps)
    pointers = tuple(("pointer", at.frame, at.distance, output["serial"]) for at, output in found.pointers)
    return (("limit", found.limit), *maps, *pointers)


def is_fresh(state: State, track: Track, frame: int, *, reverse: bool) -> bool:
    """Whether tracking a frame now would give the result that is there."""
    output = track.outputs[OTHER].get(frame)
    if output is None or output["reads"] is None or output["pred_masks"] is None:
        return False
    if output["maskmem_features"] is None or track.tracked.direction(frame) is not reverse:
        return False
    return bool(output["reads"] == reads(sources(state, track, frame, reverse=reverse)))


def stale_frames(state: State) -> list[int]:
    """See `VideoState.stale_frames`; answers that have not joined the results count as what they will be."""
    return sorted({frame for track in state.tracks.values() for frame in _stale(state, track)})


def _stale(state: State, track: Track) -> set[int]:
    prompts = {**track.outputs[COND], **track.pending[COND]}
    others = {**track.outputs[OTHER], **track.pending[OTHER]}
    view = Track(outputs={COND: prompts, OTHER: {f: out for f, out in others.items() if f not in prompts}})
    said = {**prompts, **{frame: others[frame] for frame in {*track.corrected, *track.pending[OTHER]}}}
    stale: set[int] = set()
    if not prompts:
        return stale
    directions = {frame: track.tracked.direction(frame) for frame in view.outputs[OTHER]}
    for frame in sorted(directions, key=lambda frame: -frame if directions[frame] else frame):
        output, reverse = view.outputs[OTHER][frame], directions[frame]
        if reverse is None or output["reads"] is None or frame in said:
            continue
        before, now = set(output["reads"]), set(reads(sources(state, view, frame, reverse=reverse)))
        # Of what the window has passed it is known only whether something was said before it since.
        lost = bool(before - now) and (
            state.history == "all" or _said_since(said, frame, output["serial"], reverse=reverse)
        )
        if lost or now - before or any(entry[1] in stale for entry in before if entry[0] != "limit"):
            stale.add(frame)
    return stale


def _said_since(said: dict[int, Output], frame: int, serial: int, *, reverse: bool) -> bool:
    """Whether anything on the side that tracking came from was said after a result was made."""
    return any(
        output["serial"] > serial and (at > frame if reverse else at < frame) for at, output in said.items()
    )
