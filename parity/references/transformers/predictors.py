"""transformers' processors around its models, spoken to as Meta's predictors of pictures.

What they cannot be asked has no counterpart; what they do to pixels, coordinates and logits is their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from parity.execution.case import NoCounterpart
from parity.references.common.predictors import LARGEST_LOGIT, check_video_settings, refuse


class Pictured:
    """A model of images that has a picture; see `SAM2ImagePredictor`.

    Args:
        model: `SamModel` or `Sam2Model`.
        processor: of its kind.
        sizes: the names of what its post-processing wants to be told of a picture.
    """

    def __init__(self, model: Any, processor: Any, sizes: tuple[str, ...]) -> None:
        self._model, self._processor, self._sizes = model, processor, sizes
        self._given: Mapping[str, Any] = {}
        self._picture: Any = None

    def __getattr__(self, name: str) -> Any:
        raise NoCounterpart(f"its predictor has no {name}")

    def set_image(self, picture: np.ndarray, **others: Any) -> None:
        """Take a picture [H, W, 3], uint8, red first."""
        from PIL import Image

        _refuse(others)
        self._picture = Image.fromarray(picture)  # of arrays it guesses where the channels are

    def predict(
        self,
        *,
        point_coords: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask_input: Any = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        **others: Any,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `SAM2ImagePredictor.predict`; of one prompt."""
        _refuse(others)
        if mask_input is not None or (box is not None and np.ndim(box) > 1) or np.ndim(point_coords) > 2:
            raise NoCounterpart("takes earlier logits and several prompts in another way")
        if box is None and not np.size(point_coords if point_coords is not None else ()):
            raise NoCounterpart("its processors take no prompt without points or boxes")
        prompts: dict[str, Any] = {}
        if point_coords is not None:
            prompts["input_points"] = [[np.asarray(point_coords, float).tolist()]]
            prompts["input_labels"] = [[np.asarray(point_labels).tolist()]]
        if box is not None:
            prompts["input_boxes"] = [[np.asarray(box, float).tolist()]]
        with _in_whole_numbers():
            given = self._processor(images=self._picture, return_tensors="pt", **prompts)
        wide = next(self._model.parameters()).dtype
        named = {
            name: value.to(wide) if value.is_floating_point() else value
            for name, value in given.items()
            if name in ("pixel_values", "input_points", "input_labels", "input_boxes")
        }
        found = self._model(**named, multimask_output=multimask_output)
        (masks,) = self._processor.post_process_masks(
            found.pred_masks, *(given[name] for name in self._sizes), binarize=not return_logits
        )
        # SAM 1's processor adds a batch of prompts in front, SAM 2's has objects there.
        low_res, scores = (
            found.pred_masks.reshape(-1, *found.pred_masks.shape[-2:]),
            found.iou_scores.reshape(-1),
        )
        seen = masks.reshape(-1, *masks.shape[-2:])
        return _array(seen), _array(scores), _array(low_res)


def _in_whole_numbers() -> AbstractContextManager[Any]:
    """Have torchvision resize bytes as it does on processors with AVX2: on others it gives other levels.

    So truths, which are kept, are the same on all of them.
    """
    return mock.patch.object(torch.backends.cpu, "get_cpu_capability", return_value="AVX2")


def _array(values: Tensor) -> np.ndarray:
    array: np.ndarray = values.numpy(force=True)
    return array


def _refuse(others: Mapping[str, Any]) -> None:
    refuse(others, "its processors have")


def sides(size: int) -> dict[str, int]:
    """A square, as processors are told of it."""
    return {"height": size, "width": size}


class Sam2Pictured(Pictured):
    """`Sam2Processor` and `Sam2Model`, whose masks are decided as numbers, as Meta's."""

    def predict(self, **given: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `Pictured`."""
        masks, scores, low_res = super().predict(**given)
        if np.abs(low_res).max() > LARGEST_LOGIT:
            raise NoCounterpart("gives back logits as they are, where Meta's predictor cuts them to 32")
        return masks.astype(low_res.dtype), scores, low_res


def sam2(whole: Any, **settings: Any) -> Pictured:
    """`Sam2Model` with the weights of a video model, and its processor."""
    from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

    _refuse(settings)
    inner = whole.inner
    config = Sam2Config(
        vision_config=inner.config.vision_config,
        prompt_encoder_config=inner.config.prompt_encoder_config,
        mask_decoder_config=inner.config.mask_decoder_config,
    )
    model = Sam2Model(config)
    weights = inner.state_dict()
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    model.to(next(inner.parameters()).dtype).eval()
    size = inner.config.image_size
    pixels = Sam2ImageProcessor(size=sides(size), mask_size=sides(size // 4))
    return Sam2Pictured(model, Sam2Processor(image_processor=pixels, target_size=size), ("original_sizes",))


def sam(whole: Any, **settings: Any) -> Pictured:
    """`SamModel` and its processor, with the means that the model was made with."""
    from transformers import SamImageProcessor, SamProcessor

    _refuse(settings)
    size = whole.inner.config.vision_config.image_size
    mean, deviation = whole.pixels
    processor = SamProcessor(
        SamImageProcessor(
            size={"longest_edge": size},
            pad_size=sides(size),
            mask_size={"longest_edge": size // 4},
            mask_pad_size=sides(size // 4),
            image_mean=[value / 255 for value in mean],
            image_std=[value / 255 for value in deviation],
        )
    )
    return _SamPictured(whole.inner, processor, ("original_sizes", "reshaped_input_sizes"))


class _SamPictured(Pictured):
    """`SamProcessor` has no `post_process_masks` that knows how far it padded."""

    def __init__(self, model: Any, processor: Any, sizes: tuple[str, ...]) -> None:
        super().__init__(model, processor, sizes)
        pixels = processor.image_processor

        def post_process_masks(*args: Any, **kwargs: Any) -> Any:
            return pixels.post_process_masks(*args, pad_size=pixels.pad_size, **kwargs)

        self._processor = _Together(processor, post_process_masks)


class _Together:
    """A processor with another post-processing."""

    def __init__(self, processor: Any, post_process_masks: Any) -> None:
        self._processor, self.post_process_masks = processor, post_process_masks

    def __call__(self, **given: Any) -> Any:
        return self._processor(**given)


class Filmed:
    """`Sam2VideoModel` with its processor, spoken to as `SAM2VideoPredictor`."""

    def __init__(self, inner: Any, **settings: Any) -> None:
        from transformers import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor

        check_video_settings(settings, "its sessions fill no holes", "its sessions have")
        size = inner.config.image_size
        self._model, self._dtype = inner, next(inner.parameters()).dtype
        self._processor = Sam2VideoProcessor(
            image_processor=Sam2ImageProcessor(size=sides(size), mask_size=sides(size // 4)),
            video_processor=Sam2VideoVideoProcessor(size=sides(size)),
            target_size=size,
        )

    def __getattr__(self, name: str) -> Any:
        raise NoCounterpart(f"its sessions have no {name}")

    def init_state(self, frames: np.ndarray) -> Any:
        """A session on frames [T, H, W, 3]."""
        if not isinstance(frames, np.ndarray):
            raise NoCounterpart("is told the number of a stream's frames")
        with _in_whole_numbers():
            return self._processor.init_video_session(video=frames, dtype=self._dtype)

    def add_new_points_or_box(
        self,
        session: Any,
        frame_idx: int,
        obj_id: int,
        points: Any = None,
        labels: Any = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: Any = None,
    ) -> Any:
        """See `SAM2VideoPredictor`."""
        if not normalize_coords:
            raise NoCounterpart("takes no coordinates that are fractions")
        given: dict[str, Any] = {"clear_old_inputs": clear_old_points}
        if points is not None:
            given["input_points"] = [[np.asarray(points, float).tolist()]]
            given["input_labels"] = [[np.asarray(labels).tolist()]]
        if box is not None:
            given["input_boxes"] = [[np.asarray(box, float).tolist()]]
        return self._said(session, frame_idx, obj_id, given)

    def add_new_mask(self, session: Any, frame_idx: int, obj_id: int, mask: np.ndarray) -> Any:
        """See `SAM2VideoPredictor`."""
        return self._said(session, frame_idx, obj_id, {"input_masks": np.asarray(mask) > 0})

    def _said(self, session: Any, frame: int, obj_id: int, given: Mapping[str, Any]) -> Any:
        self._processor.add_inputs_to_inference_session(
            inference_session=session, frame_idx=frame, obj_ids=obj_id, **given
        )
        return self._shown(session, self._model(inference_session=session, frame_idx=frame))

    def propagate_in_video(
        self, session: Any, start: int | None, most: int | None, reverse: bool
    ) -> Iterator[tuple[int, list[int], Tensor]]:
        """See `SAM2VideoPredictor`."""
        found = self._model.propagate_in_video_iterator(
            session, start_frame_idx=start, max_frame_num_to_track=most, reverse=reverse
        )
        for one in found:
            yield self._shown(session, one)

    def _shown(self, session: Any, found: Any) -> tuple[int, list[int], Tensor]:
        size = [[session.video_height, session.video_width]]
        (masks,) = self._processor.post_process_masks([found.pred_masks], size, binarize=False)
        return found.frame_idx, list(session.obj_ids), masks


def video(whole: Any, **settings: Any) -> Filmed:
    """See `Filmed`."""
    return Filmed(whole.inner, **settings)


FUNCTIONS = {"SAM2ImagePredictor": sam2, "SamPredictor": sam, "SAM2VideoPredictor": video}
"""The reference page's predictors → what makes transformers' of an adapted model."""
