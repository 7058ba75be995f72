"""Meta's predictor of videos, around a model that is there, on frames in memory.

Three things that it lacks are given to it here: connected components, by OpenCV, as its kernel runs on no processor;
memories in the precision of the features that read them, without which it ends in an error in float32 where no pointer
is read with them; and the method that drops memories near a prompt, which it calls and does not have.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from parity.references.common import opencv


def video(
    model: Any,
    *,
    fill_hole_area: int = 8,
    non_overlap_masks: bool = False,
    clear_non_cond_mem_around_input: bool = False,
    add_all_frames_to_correct_as_cond: bool = False,
    **ours: Any,
) -> Any:
    """`SAM2VideoPredictor`, which is the model itself; what only ours has to choose is left out.

    A model of ours becomes one by being both.
    """
    from sam2.modeling.sam2_base import SAM2Base

    opencv.stand_in()
    own, driver = type(model), _driver()
    model.__class__ = driver if isinstance(model, SAM2Base) else type("Tracker", (own, driver), {})
    model.fill_hole_area = fill_hole_area
    model.non_overlap_masks = non_overlap_masks
    model.clear_non_cond_mem_around_input = clear_non_cond_mem_around_input
    model.add_all_frames_to_correct_as_cond = add_all_frames_to_correct_as_cond
    model.binarize_mask_from_pts_for_mem_enc = True  # as its builder has it
    return model


@cache
def _driver() -> type:
    from sam2.sam2_video_predictor import SAM2VideoPredictor

    class Driver(SAM2VideoPredictor):  # type: ignore[misc]
        """The predictor, with frames from memory."""

        def init_state(self, frames: Iterable[np.ndarray]) -> Any:
            """Through files that lose nothing, whatever their names say."""
            from PIL import Image

            with tempfile.TemporaryDirectory() as folder:
                for number, frame in enumerate(frames):
                    with open(Path(folder) / f"{number:05d}.jpg", "wb") as file:
                        Image.fromarray(np.asarray(frame)).save(file, "PNG")
                return super().init_state(folder)

        def _prepare_memory_conditioned_features(self, **given: Any) -> Any:
            features = given["current_vision_feats"][-1]
            outputs = {
                role: {
                    frame: {**out, "maskmem_features": _cast(out["maskmem_features"], features)}
                    for frame, out in frames.items()
                }
                for role, frames in given["output_dict"].items()
            }
            return super()._prepare_memory_conditioned_features(**{**given, "output_dict": outputs})

        def _clear_obj_non_cond_mem_around_input(self, state: Any, frame: int, index: int) -> None:
            reach = self.memory_temporal_stride_for_eval * self.num_maskmem
            others = state["output_dict_per_obj"][index]["non_cond_frame_outputs"]
            for near in range(frame - reach, frame + reach + 1):
                others.pop(near, None)

    return Driver


def _cast(memory: Tensor | None, features: Tensor) -> Tensor | None:
    return None if memory is None else memory.to(features.dtype)
