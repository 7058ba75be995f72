"""Ultralytics' way from a picture to a model's input, and from masks to the picture, as its predictors go it."""

from typing import Any

import numpy as np
from torch import Tensor, nn


class _Model(nn.Module):
    """What a predictor asks of a model before it is given an image."""

    fp16 = False

    def set_imgsz(self, imgsz: Any) -> None:
        """Nothing to resize."""


def _prepared(predictor: Any, picture: Tensor, size: int) -> Tensor:
    options = {"imgsz": size, "task": "segment", "mode": "predict", "save": False, "device": "cpu"}
    made = predictor(overrides=options)
    made.setup_model(_Model(), verbose=False)
    made.imgsz = (size, size)
    # It takes pictures as OpenCV reads them, blue first.
    image: Tensor = made.preprocess([np.ascontiguousarray(picture.numpy(force=True)[..., ::-1])])
    return image


def image_for_sam(picture: Tensor, size: int) -> Tensor:
    """As `Predictor.preprocess`."""
    from ultralytics.models.sam import Predictor

    return _prepared(Predictor, picture, size)


def image_for_sam2(picture: Tensor, size: int) -> Tensor:
    """As `SAM2Predictor.preprocess`."""
    from ultralytics.models.sam import SAM2Predictor

    return _prepared(SAM2Predictor, picture, size)


def masks_for_picture(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """As `Predictor.postprocess` for a picture that filled the input."""
    from ultralytics.utils import ops

    resized: Tensor = ops.scale_masks(masks, size, padding=False)
    return resized
