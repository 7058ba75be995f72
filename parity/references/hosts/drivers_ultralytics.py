"""The drivers of Ultralytics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parity.references.hosts.driver import (
    OBJECTS,
    PROMPTS,
    Driver,
    RecordedLogits,
    RecordedThreshold,
    Result,
    Session,
    clicks,
    clip,
    filled,
    for_probe,
    photograph,
    probe_sam,
    probe_sam2,
)
from parity.references.ultralytics import models
from parity.references.ultralytics.predictors import set_up


def _image(class_name: str, variant: str, *, sam2: bool) -> Any:
    def make(size: int, folder: Path) -> Session:
        from ultralytics.models import sam

        model = filled(models.model(variant, size, {}))
        probe = probe_sam2 if sam2 else probe_sam
        predictor = set_up(getattr(sam, class_name), model, size)

        def run() -> Result:
            predictor.set_image(photograph()[..., ::-1].copy())  # blue first
            (found,) = predictor(points=clicks().tolist(), labels=[1] * PROMPTS)
            predictor.reset_image()
            masks = found.masks.data
            return Result(masks, (found.boxes.conf,), model.mask_threshold.take(masks))

        model.mask_threshold = RecordedThreshold(model.mask_threshold)
        if not sam2:
            _balance(model.mask_threshold, run)
        return Session(predictor, run, probe, for_probe(size, sam2=sam2))

    return make


def _balance(threshold: RecordedThreshold, run: Callable[[], Result]) -> None:
    """Set the threshold of masks so that they are neither empty nor full: these weights give either."""
    low, high = -16.0, 16.0
    for _ in range(12):
        threshold.value = (low + high) / 2
        foreground = float(run().masks.float().mean())
        if 0.2 <= foreground <= 0.8:
            return
        low, high = (threshold.value, high) if foreground > 0.5 else (low, threshold.value)


class _RecordedOverlaps(RecordedLogits):
    """The step that gives each pixel to one object at most, which remembers what it decided by.

    Args:
        constrain: the step, from logits [N, 1, H, W] of N objects to new ones.
        threshold: of the masks.
    """

    def __init__(self, constrain: Callable[[Tensor], Tensor], threshold: float) -> None:
        super().__init__()
        self.constrain = constrain
        self.threshold = threshold

    def __call__(self, logits: Tensor) -> Tensor:
        others = [torch.cat((logits[:i], logits[i + 1 :])).amax(0) for i in range(len(logits))]
        # Above zero where the object is there and before all others.
        self.recorded.append(torch.minimum(logits - self.threshold, logits - torch.stack(others))[:, 0])
        return self.constrain(logits)


def _video(version: str) -> Any:
    def make(size: int, folder: Path) -> Session:
        import cv2  # type: ignore[import-not-found]
        from ultralytics.models.sam import SAM2VideoPredictor

        frames = clip()
        path = str(folder / "clip.avi")
        height, width = frames[0].shape[:2]
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 5, (width, height))
        for frame in frames:
            writer.write(frame[..., ::-1].copy())
        writer.release()
        model = filled(models.model(f"{version}_hiera_tiny", size, {}))

        def run() -> Result:
            predictor = set_up(SAM2VideoPredictor, model, size)  # it keeps what it tracked
            results = predictor(
                source=path, points=[list(place) for place in OBJECTS], labels=[1] * len(OBJECTS), stream=True
            )
            masks = torch.cat([found.masks.data for found in results])
            return Result(masks, (), overlaps.take(masks))

        overlaps = model._apply_non_overlapping_constraints = _RecordedOverlaps(
            model._apply_non_overlapping_constraints, model.mask_threshold
        )
        return Session(model, run, probe_sam2, for_probe(size, sam2=True))

    return make


_PACKAGES = ("ultralytics",)

DRIVERS = (
    Driver(
        "ultralytics",
        "SAM2Predictor 2.1 tiny",
        _PACKAGES,
        _image("SAM2Predictor", "sam2.1_hiera_tiny", sam2=True),
    ),
    Driver("ultralytics", "SAM2VideoPredictor 2.1 tiny", _PACKAGES, _video("sam2.1")),
    Driver("ultralytics", "SAM2VideoPredictor 2.0 tiny", _PACKAGES, _video("sam2")),
    Driver("ultralytics", "Predictor mobile_sam", _PACKAGES, _image("Predictor", "mobile_sam", sam2=False)),
)
