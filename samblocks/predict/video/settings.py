"""What a video predictor was told: its model, and by which policies objects are tracked."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch

from samblocks.image_size import ImageSize, image_sides
from samblocks.ops.precision import at_least_float32
from samblocks.predict.arguments import flag, number, shown
from samblocks.predict.drivers import input_size
from samblocks.predict.loading import model_of

Corrections = Literal["stick", "upstream"]
History = Literal["all", "window"]


class Settings:
    """A model and the policies of tracking; `VideoPredictor` describes them."""

    def __init__(
        self,
        model: Any,
        *,
        fill_hole_area: int = 8,
        non_overlap_masks: bool = False,
        clear_non_cond_mem_around_input: bool = False,
        add_all_frames_to_correct_as_cond: bool = False,
        corrections: Corrections = "stick",
        batch_objects: bool = True,
        history: History | None = None,
        memory_dtype: torch.dtype | None = torch.bfloat16,
    ) -> None:
        _one_of("corrections", corrections, get_args(Corrections))
        if history is not None:
            _one_of("history", history, get_args(History))
        self.fill_hole_area = number(
            fill_hole_area, "fill_hole_area", least=0, what="a number of pixels, 0 to fill no holes"
        )
        floating = isinstance(memory_dtype, torch.dtype) and memory_dtype.is_floating_point
        if memory_dtype is not None and not floating:
            raise ValueError(f"memory_dtype={shown(memory_dtype)} must be a floating-point dtype, or None")
        self.non_overlap_masks = flag(non_overlap_masks, "non_overlap_masks")
        self.clear_non_cond_mem_around_input = flag(
            clear_non_cond_mem_around_input, "clear_non_cond_mem_around_input"
        )
        self.add_all_frames_to_correct_as_cond = flag(
            add_all_frames_to_correct_as_cond, "add_all_frames_to_correct_as_cond"
        )
        self.batch_objects = flag(batch_objects, "batch_objects")
        model = model_of(model)
        if not hasattr(model, "track_step"):
            raise ValueError(
                f"model is a {type(model).__name__}, which cannot track; it must be a SAM 2 or 2.1, or its checkpoint"
            )
        self.model = model.eval()
        # Meta's builder of video predictors sets it: masks that answer to prompts are remembered as zeros and ones.
        self.model.binarize_mask_from_pts_for_mem_enc = True
        self.corrections = corrections
        self.history = history
        self.memory_dtype = memory_dtype

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's weights."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    @property
    def wide(self) -> torch.dtype:
        """Of what no model computes: coordinates, normalised pixels, stored logits."""
        return at_least_float32(self.dtype)

    @property
    def image_size(self) -> ImageSize:
        """Side of the model's images in pixels, or their height and width."""
        return input_size(self.model.sam_prompt_encoder)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the model's images in pixels."""
        return image_sides(self.image_size)

    @property
    def reach(self) -> tuple[int, int]:
        """How far away from a frame memories and pointers may lie that it reads, in frames."""
        model = self.model
        maps = max(int(model.num_maskmem) - 1, 1) * int(model.memory_temporal_stride_for_eval)
        return maps, max(int(model.max_obj_ptrs_in_encoder) - 1, 1)

    def policies(self) -> dict[str, str | int | bool]:
        """Everything but the model, for a saved state to be compared with."""
        return {
            "fill_hole_area": self.fill_hole_area,
            "non_overlap_masks": self.non_overlap_masks,
            "clear_non_cond_mem_around_input": self.clear_non_cond_mem_around_input,
            "add_all_frames_to_correct_as_cond": self.add_all_frames_to_correct_as_cond,
            "corrections": self.corrections,
            "memory_dtype": str(self.memory_dtype),
        }


def _one_of(argument: str, value: object, values: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in values:
        raise ValueError(f"{argument}={shown(value)} must be one of {', '.join(map(repr, values))}")
