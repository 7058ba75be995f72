"""`VideoPredictor`: objects shown on some frames of a video, and found on all of them."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from samblocks.predict.arguments import flag, shown
from samblocks.predict.arguments import path as path_of
from samblocks.predict.loading import pretrained
from samblocks.predict.video import propagation
from samblocks.predict.video.clips import Stream
from samblocks.predict.video.prompts import add_mask, add_points, clear_frame, known, pending_role
from samblocks.predict.video.saving import resume
from samblocks.predict.video.settings import Settings
from samblocks.predict.video.sources import open_clip
from samblocks.predict.video.video_state import VideoState
from samblocks.predict.video.views import Answer, answer


class VideoPredictor(Settings):
    """Track objects through a video with a SAM 2 or 2.1.

    Methods, their arguments and what they return are those of Meta's `SAM2VideoPredictor`, whose results these are:
    to the bit where `batch_objects=False`, `corrections="upstream"` and both run the same kernels. Everything runs in
    inference mode. A prompt that is refused leaves the state as it was; a prompt that is given twice is a refinement
    of the first.

    Args:
        model: a `SAM2Model`, or what `samblocks.load` takes: a checkpoint's path or the name of a published one. It is
            put into evaluation mode, and remembers prompted masks as zeros and ones, as Meta's builder has it.
        fill_hole_area: holes of masks of at most this many pixels, of the low-resolution masks, are filled. Meta fills
            them where its kernel is compiled; 0 is what it does without.
        non_overlap_masks: give each pixel to one object, in what is returned.
        clear_non_cond_mem_around_input: drop what was tracked near a prompted frame.
        add_all_frames_to_correct_as_cond: a tracked frame that is prompted is read by all frames from then on, earlier
            ones too, like the first prompted frame.
        corrections: what becomes of a prompt on a frame that was tracked. "stick": its answer stays, and later frames
            read it as they read any; "upstream": it is tracked over, as by Meta's version 1.1.
        batch_objects: track all objects of a frame at once, where they read the same frames. False tracks them one by
            one: slower, with the bits of Meta's loop.
        history: which results are kept: "all", or those in a "window" around prompted frames and the last one, so that
            memory does not grow with the video. None keeps all but of iterators. See `init_state`.
        memory_dtype: of stored memories; None keeps the model's. Meta's bfloat16 is part of its results.

    Raises:
        ValueError: an argument is none of these.
        CheckpointError: the file is no checkpoint of a model.

    Examples:
        >>> import numpy as np
        >>> from samblocks.models.build import assemble
        >>> predictor = VideoPredictor(assemble("sam2.1_hiera_tiny", image_size=128))
        >>> state = predictor.init_state(np.zeros((3, 60, 80, 3), np.uint8))
        >>> frame, ids, masks = predictor.add_new_points_or_box(state, 0, "cat", points=[[40, 30]], labels=[1])
        >>> [(frame, ids, tuple(masks.shape)) for frame, ids, masks in predictor.propagate_in_video(state)]
        [(0, ['cat'], (1, 1, 60, 80)), (1, ['cat'], (1, 1, 60, 80)), (2, ['cat'], (1, 1, 60, 80))]

    Upstream: facebookresearch/sam2 sam2/sam2_video_predictor.py
    """

    @classmethod
    def from_pretrained(cls, model_id: str, **kwargs: Any) -> Self:
        """Load a published model by its repository's name.

        Args:
            model_id: such as "facebook/sam2.1-hiera-tiny", or its twin for transformers that ends in "-hf".
            kwargs: arguments of the predictor; `device` and `dtype` are given to the model. Those of Meta's builder are
                taken, too.

        Returns:
            The predictor.

        Raises:
            ValueError: there is no such repository, or its model cannot track.
        """
        model, options = pretrained(model_id, kwargs)
        return cls(model, **options)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Bring the model to a device or a dtype, before any state is made."""
        self.model.to(*args, **kwargs)
        return self

    @torch.inference_mode()
    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> VideoState:
        """Open a video.

        Frames are read when they are needed, and but for an iterator's read again where tracking goes back to
        them: no video is held in memory, on any device. An iterator, such as a camera, is read no further than tracking
        is, apart from the first tracked frame, for which it must be known whether there are as many frames as the model
        has pointers (16).

        Args:
            video_path: a folder of pictures, taken in natural order of their names; a video file; an array or a tensor
                (T, H, W, C); a volume (Z, Y, X); a list of pictures; or an iterator of pictures.
            offload_video_to_cpu: taken for Meta's sake: frames are never held on the model's device.
            offload_state_to_cpu: keep memories and masks on the CPU.
            async_loading_frames: taken for Meta's sake: no frame is waited for that is not needed.

        Returns:
            The state, without objects.

        Raises:
            ValueError: there are no frames, or of several sizes.
            FileNotFoundError: there is no such path.
            ImportError: Pillow or PyAV is missing.
        """
        offloads = flag(offload_state_to_cpu, "offload_state_to_cpu")
        flag(offload_video_to_cpu, "offload_video_to_cpu")
        flag(async_loading_frames, "async_loading_frames")
        clip = open_clip(video_path, self.image_size, keep=self.history == "all")
        history = self.history or ("window" if isinstance(clip, Stream) else "all")
        return VideoState(self, clip, offload_state_to_cpu=offloads, history=history)

    @torch.inference_mode()
    def add_new_points_or_box(
        self,
        inference_state: VideoState,
        frame_idx: int,
        obj_id: Hashable,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> Answer:
        """Show an object on a frame by points, a box or both.

        What is known of the object on this frame is given to the model, too: the answer refines it.

        Args:
            inference_state: the video's.
            frame_idx: the frame.
            obj_id: any hashable name; a new one makes a new object, at any time.
            points: (N, 2) as (x, y), in pixels of the video.
            labels: (N,), 1 inside the object, 0 outside; 2 and 3 are a box's corners, -1 is no point. Any other is a
                place of no kind, as in Meta's.
            clear_old_points: forget the points that this frame has for the object; False adds to them.
            normalize_coords: False if coordinates are fractions of the video's width and height.
            box: x0, y0, x1, y1.

        Returns:
            The frame, all objects, and their logits [N, 1, H, W] on it; objects that were not looked for there have
            -1024 everywhere.

        Raises:
            ValueError: for prompts that are none, or a frame that is none.
        """
        return add_points(
            _state(inference_state),
            frame_idx,
            obj_id,
            points,
            labels,
            box,
            clear_old_points=clear_old_points,
            normalize_coords=normalize_coords,
        )

    def add_new_points(self, *args: Any, **kwargs: Any) -> Answer:
        """Meta's earlier name of `add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    @torch.inference_mode()
    def add_new_mask(
        self, inference_state: VideoState, frame_idx: int, obj_id: Hashable, mask: Any
    ) -> Answer:
        """Show an object on a frame by a mask; an empty one says that it is not there.

        Args:
            inference_state: the video's.
            frame_idx: the frame.
            obj_id: any hashable name; a new one makes a new object, at any time.
            mask: (H, W) of any size; of arrays and whole-numbered tensors what is not 0 is foreground, floating-point
                tensors are from 0 to 1.

        Returns:
            As `add_new_points_or_box`. The mask comes back at the model's size, so that its edges may move.

        Raises:
            ValueError: for masks that are none, or a frame that is none.
        """
        return add_mask(_state(inference_state), frame_idx, obj_id, mask)

    def propagate_in_video(
        self,
        inference_state: VideoState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[int, list[Hashable], Tensor]]:
        """Track all objects, frame after frame.

        Frames whose results would come out again are given without tracking them: after a correction those alone are
        tracked that it changes. Breaking off and going on later changes nothing.

        Args:
            inference_state: the video's.
            start_frame_idx: the first frame; None starts at the first one with a prompt, of an iterator at the first
                one that is at hand.
            max_frame_num_to_track: how many frames follow the first one; None goes on to the end.
            reverse: track backwards.

        Returns:
            An iterator over frame, objects and their logits [N, 1, H, W] float32.

        Raises:
            RuntimeError: there is no object, or one without a prompt.
            ValueError: there is no such frame; what is needed is neither kept nor can be tracked again.
        """
        propagation.check_prompts(_state(inference_state))
        if max_frame_num_to_track is not None and not isinstance(max_frame_num_to_track, int | np.integer):
            raise ValueError(
                f"max_frame_num_to_track={shown(max_frame_num_to_track)} must be a number of frames, or None"
            )
        if start_frame_idx is not None:
            inference_state.clip.check(start_frame_idx, argument="start_frame_idx")
        return propagation.propagate(
            inference_state, start_frame_idx, max_frame_num_to_track, reverse=flag(reverse, "reverse")
        )

    @torch.inference_mode()
    def propagate_in_video_preflight(self, inference_state: VideoState) -> None:
        """Let answers to prompts join what is known, as `propagate_in_video` does first of all.

        Args:
            inference_state: the video's.

        Raises:
            RuntimeError: there is no object, or one without a prompt.
        """
        propagation.settle(_state(inference_state))

    @torch.inference_mode()
    def clear_all_prompts_in_frame(
        self, inference_state: VideoState, frame_idx: int, obj_id: Hashable, need_output: bool = True
    ) -> Answer | None:
        """Take back all that was said about an object on a frame.

        Args:
            inference_state: the video's.
            frame_idx: the frame.
            obj_id: the object.
            need_output: give the masks that are left on the frame.

        Returns:
            As `add_new_points_or_box`, or None.

        Raises:
            ValueError: there is no such object, or frame.
        """
        shows = flag(need_output, "need_output")
        role = clear_frame(_state(inference_state), frame_idx, obj_id)
        return answer(inference_state, frame_idx, role) if shows else None

    @torch.inference_mode()
    def remove_object(
        self, inference_state: VideoState, obj_id: Hashable, strict: bool = False, need_output: bool = True
    ) -> tuple[list[Hashable], list[tuple[int, Tensor]]]:
        """Forget an object; the others' results do not change.

        Args:
            inference_state: the video's.
            obj_id: the object.
            strict: an unknown object is an error; otherwise nothing happens.
            need_output: give the others' masks on the frames on which the object had prompts.

        Returns:
            The objects that are left, and (frame, logits [N, 1, H, W]) for each of these frames.

        Raises:
            RuntimeError: the object is unknown, if `strict`.
        """
        known(obj_id)
        shows, refuses = flag(need_output, "need_output"), flag(strict, "strict")
        track = _state(inference_state).tracks.pop(obj_id, None)
        if track is None:
            if refuses:
                raise RuntimeError(f"obj_id={obj_id!r} is unknown; objects are {inference_state.obj_ids}")
            return inference_state.obj_ids, []
        if not inference_state.tracks:
            self.reset_state(inference_state)
            return [], []
        if not shows:
            return inference_state.obj_ids, []
        left = []
        for frame in sorted({*track.points, *track.masks}):
            _, _, masks = answer(inference_state, frame, pending_role(inference_state, frame))
            left.append((frame, masks))
        return inference_state.obj_ids, left

    def reset_state(self, inference_state: VideoState) -> None:
        """Forget all objects and their results; the video stays open.

        Args:
            inference_state: the video's.
        """
        _state(inference_state).tracks.clear()
        inference_state.last = inference_state.visited = None

    def resume(self, path: str | os.PathLike[str], video_path: Any = None) -> VideoState:
        """Go on with a saved state, in any process.

        Args:
            path: what `state.save` wrote.
            video_path: the video, as `init_state` takes it; of an iterator the frames that follow those that were read.
                None opens the folder or file that the state was made of.

        Returns:
            The state, whose further results are those that the saved one would have given.

        Raises:
            ValueError: it belongs to other weights, another policy or another video.
            CheckpointError: the file is no saved state.
        """
        return resume(VideoState, self, path_of(path, "path"), video_path)


def _state(value: object) -> VideoState:
    """What was made by `init_state` or `resume`.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, VideoState):
        raise ValueError(f"inference_state is a {type(value).__name__}; it must be what init_state gave")
    return value
