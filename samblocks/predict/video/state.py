"""What is known of a video while its objects are tracked."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import torch
from torch import Tensor

from samblocks.predict.video.clips import Clip, Stream
from samblocks.predict.video.settings import History, Settings
from samblocks.predict.video.tracked import TrackedFrames

COND: Final = "cond_frame_outputs"
OTHER: Final = "non_cond_frame_outputs"

Output = dict[str, Any]
"""What is kept of a frame and an object.

"pred_masks" [1, 1, S/4, S/4] float32 logits, "maskmem_features" [1, C, S/16, S/16], "maskmem_pos_enc", "obj_ptr"
[1, C] and "object_score_logits" [1, 1], as `SAM2Model.track_step` gives them; "serial", a number of its own; and
"reads", what it was tracked from, or None if a prompt made it. What the window has passed is None.
"""

Role = str
"""`COND` for frames with prompts, `OTHER` for the rest: upstream's names."""

Outputs = dict[Role, dict[int, Output]]

_FEATURES_KEPT: Final = 2
"""Frames whose features are kept beside those with prompts that have no memory yet."""


def no_outputs() -> Outputs:
    """Neither frames with prompts nor others."""
    return {COND: {}, OTHER: {}}


@dataclass
class Track:
    """What is known of one object.

    Args:
        points: prompts by frame, "point_coords" [1, N, 2] in the model's pixels and "point_labels" [1, N].
        masks: prompts by frame, [1, 1, S, S].
        outputs: results by role and frame.
        pending: answers to prompts, which join the results, with a memory, when tracking goes on.
        tracked: frames that tracking has passed.
        corrected: tracked frames whose answer to a prompt sticks.
    """

    points: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    masks: dict[int, Tensor] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=no_outputs)
    pending: Outputs = field(default_factory=no_outputs)
    tracked: TrackedFrames = field(default_factory=TrackedFrames)
    corrected: set[int] = field(default_factory=set)

    def known(self, frame: int, role: Role) -> Output | None:
        """What is known of a frame: a pending answer of this role, else a result of a prompt, else another one."""
        return (
            self.pending[role].get(frame) or self.outputs[COND].get(frame) or self.outputs[OTHER].get(frame)
        )


class State:
    """A video, its objects and what is known of them.

    Args:
        settings: the predictor.
        clip: the frames.
        offload_state_to_cpu: keep memories and masks there.
        history: which results are kept.
    """

    def __init__(
        self, settings: Settings, clip: Clip, *, offload_state_to_cpu: bool = False, history: History = "all"
    ) -> None:
        self.settings = settings
        self.clip = clip
        self.history: History = history
        self.storage_device = torch.device("cpu") if offload_state_to_cpu else settings.device
        self.tracks: dict[Hashable, Track] = {}
        self.last: int | None = None
        """The frame that tracking computed last."""
        self.visited: int | None = None
        """The frame that tracking went back to last, for the sake of a prompt or a new start."""
        self.serials = count(1)
        self.memory_encodings: list[Tensor] | None = None
        """The position encoding of memories, which is one for all frames, once it is known."""
        self._features: OrderedDict[int, Mapping[str, list[Tensor]]] = OrderedDict()

    @property
    def obj_ids(self) -> list[Hashable]:
        """The objects, in the order in which their masks are given."""
        return list(self.tracks)

    @property
    def num_frames(self) -> int | None:
        """How many frames there are; None while that is not known."""
        return self.clip.count

    def frames_for(self, frame: int) -> int:
        """The number of frames, as far as it matters for tracking this one.

        That is whether there are as many as pointers: a stream is read ahead until that is known.
        """
        enough = int(self.settings.model.max_obj_ptrs_in_encoder)
        if self.clip.count is None:
            self.clip.has(enough - 1)
        return self.clip.count if self.clip.count is not None else max(enough, frame + 1)

    def features(self, frame: int) -> Mapping[str, list[Tensor]]:
        """What the image encoder gives for a frame, "backbone_fpn" and "vision_pos_enc"."""
        if frame in self._features:
            self._features.move_to_end(frame)
            return self._features[frame]
        settings = self.settings
        image = self.clip.image(frame, settings.wide)[None].to(settings.device, settings.dtype)
        encoded = settings.model.forward_image(image)
        found = {name: list(encoded[name]) for name in ("backbone_fpn", "vision_pos_enc")}
        waiting = self.waiting()
        others = [kept for kept in self._features if kept not in waiting]
        for kept in others[: max(len(others) + 1 - _FEATURES_KEPT, 0)]:
            del self._features[kept]
        self._features[frame] = found
        return found

    def waiting(self) -> set[int]:
        """Frames with answers to prompts that have not joined the results."""
        return {frame for track in self.tracks.values() for part in track.pending.values() for frame in part}

    def encodings(self, made: list[Tensor]) -> list[Tensor]:
        """`memory_encodings`; the first ones that were made are kept."""
        if self.memory_encodings is None:
            self.memory_encodings = [encoding[:1].clone() for encoding in made]
        return self.memory_encodings

    def forget_features(self) -> None:
        """Drop what the image encoder gave."""
        self._features.clear()

    def first_prompt(self) -> int:
        """The first frame with a prompt, of any object, which tracking starts at; in a stream the first at hand."""
        first = min(frame for track in self.tracks.values() for frame in track.outputs[COND])
        return max(first, self.clip.first) if isinstance(self.clip, Stream) else first
