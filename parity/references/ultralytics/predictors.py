"""Ultralytics' predictors, spoken to as Meta's; what they decide masks by is taken from what they compare.

What they cannot be asked has no counterpart; what they do to pixels, coordinates and logits is their own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from parity.execution.case import NoCounterpart
from parity.references.common.predictors import LARGEST_LOGIT, check_video_settings, refuse


def set_up(kind: Any, model: Any, size: int) -> Any:
    """A predictor of a class, around a model, that keeps whatever is of some quality."""
    predictor = kind(
        overrides={
            "task": "segment",
            "mode": "predict",
            "model": "sam2.1_t.pt",
            "imgsz": size,
            "conf": 0.0,
            "device": "cpu",
            "save": False,
            "verbose": False,
        }
    )
    predictor.setup_model(model=model, verbose=False)
    return predictor


def _keeping_all(kind: Any, model: Any, size: int) -> Any:
    """The same, whatever the quality, which SAM 1 may predict to be anything."""
    predictor = set_up(kind, model, size)
    predictor.args.conf = -np.inf
    return predictor


class Pictured:
    """A predictor of pictures; see `SAM2ImagePredictor`.

    Args:
        predictor: `Predictor` or `SAM2Predictor`.
        side: of the model's images, in pixels.
        numbers: masks are zeros and ones, as Meta's predictor of the family gives them.
    """

    def __init__(self, predictor: Any, side: int, *, numbers: bool) -> None:
        self._predictor, self._side, self._numbers = predictor, side, numbers
        self._threshold = predictor.model.mask_threshold
        self._picture: np.ndarray | None = None

    def __getattr__(self, name: str) -> Any:
        raise NoCounterpart(f"its predictor has no {name}")

    def set_image(self, picture: np.ndarray, **others: Any) -> None:
        """Take a picture [H, W, 3], uint8, red first."""
        refuse(others, "its predictor has")
        if self._side * min(picture.shape[:2]) < 2 * max(picture.shape[:2]):
            raise NoCounterpart("fits a picture into a square that is so thin that one row is left of it")
        self._picture = np.ascontiguousarray(picture[..., ::-1])

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
        if others or mask_input is not None:
            raise NoCounterpart("takes earlier logits at the picture's size, and coordinates in its pixels")
        if (box is not None and np.ndim(box) > 1) or (point_coords is not None and np.ndim(point_coords) > 2):
            raise NoCounterpart("takes several prompts in another way")
        if box is None and not np.size(point_coords if point_coords is not None else ()):
            raise NoCounterpart("finds everything where it is given no prompt")
        prompts: dict[str, Any] = {"multimask_output": multimask_output}
        if point_coords is not None:  # one list deeper: several points of one object
            prompts["points"] = [np.asarray(point_coords, float).tolist()]
            prompts["labels"] = [np.asarray(point_labels).tolist()]
        if box is not None:
            prompts["bboxes"] = np.asarray(box, float).tolist()
        recorded: list[tuple[Tensor, Tensor]] = []
        infer = self._predictor.prompt_inference

        def recording(*args: Any, **kwargs: Any) -> Any:
            recorded.append(infer(*args, **kwargs)[:2])
            return recorded[-1]

        threshold = _Recorded(self._threshold)
        self._predictor.prompt_inference = recording
        self._predictor.model.mask_threshold = threshold
        try:
            self._predictor(self._picture, **prompts)
        finally:
            self._predictor.model.mask_threshold = self._threshold
            del self._predictor.prompt_inference
        low_res, scores = recorded[-1]
        if self._numbers and float(low_res.abs().max()) > LARGEST_LOGIT:
            raise NoCounterpart("gives back logits as they are, where Meta's predictor cuts them to 32")
        logits = threshold.recorded[-1]
        masks = logits if return_logits else logits > self._threshold
        if self._numbers:
            masks = masks.to(logits.dtype)
        shown = masks.reshape(-1, *masks.shape[-2:]).numpy(force=True)
        return (
            shown,
            scores.reshape(-1).numpy(force=True),
            low_res.reshape(-1, *low_res.shape[-2:]).numpy(force=True),
        )


class _Recorded:
    """A threshold that remembers what was compared with it."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.recorded: list[Tensor] = []

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Tensor:
        logits, threshold = args
        threshold.recorded.append(logits)
        result: Tensor = function(logits, threshold.value)
        return result


def sam(model: Any, **settings: Any) -> Pictured:
    """`Predictor` of a SAM 1, with the means that the model was made with."""
    from ultralytics.models.sam import Predictor

    refuse(settings, "its predictor has")
    side = model.image_encoder.img_size
    predictor = _keeping_all(Predictor, model, side)
    predictor.mean, predictor.std = model.pixel_mean.reshape(-1, 1, 1), model.pixel_std.reshape(-1, 1, 1)
    return Pictured(predictor, side, numbers=False)


def sam2(model: Any, **settings: Any) -> Pictured:
    """`SAM2Predictor`."""
    from ultralytics.models.sam import SAM2Predictor

    refuse(settings, "its predictor has")
    return Pictured(_keeping_all(SAM2Predictor, model, model.image_size), model.image_size, numbers=True)


class _State:
    """A clip, and what was said about objects on its first frame."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames
        self.points: dict[int, tuple[list[Any], list[int]]] = {}


class Filmed:
    """`SAM2VideoPredictor`, which is given all prompts with the clip, and gives masks while it reads it."""

    def __init__(self, model: Any, **settings: Any) -> None:
        check_video_settings(settings, "its predictor fills no holes", "its predictor has")
        self._model = model

    def __getattr__(self, name: str) -> Any:
        raise NoCounterpart(f"its predictor of videos has no {name}")

    def init_state(self, frames: np.ndarray) -> _State:
        """A clip [T, H, W, 3]."""
        if not isinstance(frames, np.ndarray):
            raise NoCounterpart("reads its clips from files")
        return _State(frames)

    def add_new_points_or_box(
        self,
        state: _State,
        frame_idx: int,
        obj_id: int,
        points: Any = None,
        labels: Any = None,
        **others: Any,
    ) -> tuple[int, list[int], _Unanswered]:
        """Remember clicks on the first frame."""
        if others or points is None or frame_idx != 0 or obj_id in state.points:
            raise NoCounterpart("is told one set of clicks an object, on the first frame")
        state.points[obj_id] = np.asarray(points, float).tolist(), np.asarray(labels).tolist()
        return frame_idx, list(state.points), _Unanswered()

    def propagate_in_video(
        self, state: _State, start: int | None, most: int | None, reverse: bool
    ) -> Iterator[tuple[int, list[int], Tensor]]:
        """Read the clip from a file that loses nothing; logits [N, 1, H, W] of what masks are made of."""
        from ultralytics.models.sam import SAM2VideoPredictor

        if start is not None or most is not None or reverse:
            raise NoCounterpart("tracks a clip from its first frame to its last")
        predictor = _keeping_all(SAM2VideoPredictor, self._model, self._model.image_size)
        threshold = _Recorded(self._model.mask_threshold)
        points, labels = zip(*state.points.values(), strict=True)
        with tempfile.TemporaryDirectory(prefix="parity-") as folder:
            path = Path(folder) / "clip.avi"
            _write(path, state.frames)
            self._model.mask_threshold = threshold
            try:
                found = predictor(source=str(path), points=list(points), labels=list(labels), stream=True)
                for number, _ in enumerate(found):
                    yield (
                        number,
                        list(state.points),
                        threshold.recorded[-1].reshape(-1, 1, *state.frames.shape[1:3]),
                    )
            finally:
                self._model.mask_threshold = threshold.value


class _Unanswered:
    """Stands for masks of a frame that was prompted and not yet read."""

    def clone(self) -> Tensor:
        """Say that there are none."""
        raise NoCounterpart("answers no prompt before it reads the clip")


def _write(path: Path, frames: np.ndarray) -> None:
    import cv2  # type: ignore[import-not-found]

    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 5, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    reader = cv2.VideoCapture(str(path))
    for frame in frames:
        read, shown = reader.read()
        if not read or not np.array_equal(shown[..., ::-1], frame):
            raise NoCounterpart("OpenCV has no codec here that loses nothing")
