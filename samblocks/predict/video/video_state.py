"""The state of a video as its users have it in hand."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from typing import Any, Final

from torch import Tensor

from samblocks.predict.video.clips import Clip
from samblocks.predict.video.freshness import stale_frames
from samblocks.predict.video.saving import save
from samblocks.predict.video.state import COND, OTHER, State


class VideoState(State):
    """A video, its objects and what is known of them; made by `VideoPredictor.init_state`.

    Keys of Meta's state that others' code reads can be read here, too, such as `state["num_frames"]` and
    `state["obj_ids"]`.
    """

    def object_scores(self, frame_idx: int) -> dict[Hashable, float]:
        """Logits of each object's being in a frame, of those objects of which they are known.

        Args:
            frame_idx: the frame.

        Returns:
            A number by object; above 0 it is there.
        """
        found = {}
        for obj_id, track in self.tracks.items():
            output = (
                track.pending[COND].get(frame_idx)
                or track.pending[OTHER].get(frame_idx)
                or track.known(frame_idx, COND)
            )
            if output is not None and output["object_score_logits"] is not None:
                found[obj_id] = float(output["object_score_logits"])
        return found

    def stale_frames(self) -> list[int]:
        """Frames whose masks would change if they were tracked again, because of what was said since.

        `propagate_in_video` tracks these again, and gives the others as they are.
        """
        return stale_frames(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that is known into one safetensors file; `VideoPredictor.resume` goes on with it.

        The frames themselves are not in it, but for those of a stream that were read ahead.

        Args:
            path: the file.

        Raises:
            ValueError: an object's id is neither a number nor a string.
            OSError: it cannot be written.
        """
        save(self, path)

    def __getitem__(self, key: str) -> Any:
        """Read what Meta's state has under this name."""
        if key not in _KEYS:
            raise KeyError(f"{key!r}; keys are {', '.join(_KEYS)}")
        return _KEYS[key](self)

    def __contains__(self, key: object) -> bool:
        return key in _KEYS

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)


class _Images:
    """Frames as the model takes them, made when they are asked for."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    def __len__(self) -> int:
        if self._clip.count is None:
            raise TypeError("the number of frames is not known yet")
        return self._clip.count

    def __getitem__(self, frame: int) -> Tensor:
        if not self._clip.has(frame):
            raise IndexError(f"frame {frame}")
        return self._clip.image(frame)


_KEYS: Final[dict[str, Any]] = {
    "images": lambda state: _Images(state.clip),
    "num_frames": lambda state: state.num_frames,
    "video_height": lambda state: state.clip.height,
    "video_width": lambda state: state.clip.width,
    "device": lambda state: state.settings.device,
    "storage_device": lambda state: state.storage_device,
    "obj_ids": lambda state: state.obj_ids,
    "obj_id_to_idx": lambda state: {obj_id: index for index, obj_id in enumerate(state.tracks)},
    "obj_idx_to_id": lambda state: dict(enumerate(state.tracks)),
    "point_inputs_per_obj": lambda state: _by_index(state, "points"),
    "mask_inputs_per_obj": lambda state: _by_index(state, "masks"),
    "output_dict_per_obj": lambda state: _by_index(state, "outputs"),
    "temp_output_dict_per_obj": lambda state: _by_index(state, "pending"),
    "frames_tracked_per_obj": lambda state: {
        index: {frame: {"reverse": reverse} for frame, reverse in track.tracked}
        for index, track in enumerate(state.tracks.values())
    },
}


def _by_index(state: State, name: str) -> dict[int, Any]:
    return {index: getattr(track, name) for index, track in enumerate(state.tracks.values())}
