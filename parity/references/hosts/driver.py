"""What a driver is: a library's own way from a photograph or a clip to masks, on a model with filled weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.execution import pictures
from parity.execution.fill import fill_

PROMPTS = 12
"""Clicks on the photograph; each gives a mask."""

OBJECTS = ((100, 100), (400, 200), (300, 300))
"""Clicks on the first frame of the clip, (x, y) in its pixels; each is an object."""


@dataclass(frozen=True)
class Result:
    """What one run of a driver gave.

    Args:
        masks: [N, H, W], bool where the driver decides itself, else logits.
        numbers: anything else that came out: scores, logits in low resolution.
        logits: [N, H, W], what masks were decided by, as the distance from their threshold; None where the driver
            does not let it be seen.
    """

    masks: Tensor
    numbers: tuple[Tensor, ...] = ()
    logits: Tensor | None = None


class RecordedLogits:
    """Records the logits that a driver decides masks by: above zero where the mask is."""

    def __init__(self) -> None:
        self.recorded: list[Tensor] = []

    def take(self, like: Tensor) -> Tensor:
        """Give by how much the pixels of masks [N, H, W] are on their side, and forget all."""
        found = [logits for logits in self.recorded if logits.shape[-2:] == like.shape[-2:]]
        self.recorded = []
        return torch.cat(found)


class RecordedThreshold(RecordedLogits):
    """A threshold of masks that records the logits it is compared with, for drivers that return masks alone.

    Args:
        value: the threshold.
    """

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Tensor:
        """Compare logits with the number."""
        logits, threshold = args
        threshold.recorded.append(logits - threshold.value)
        result: Tensor = function(logits, threshold.value)
        return result


@dataclass(frozen=True)
class Session:
    """A driver that is set up.

    Args:
        model: what is given to `swap_blocks`: the module, or the predictor around it.
        run: one run, from the picture to masks.
        probe: calls the module itself, `probe(model, *inputs)`, for the verdict against float64.
        inputs: of the probe.
    """

    model: Any
    run: Callable[[], Result]
    probe: Callable[..., Any]
    inputs: tuple[Any, ...]


@dataclass(frozen=True)
class Driver:
    """A library's driver.

    Args:
        library: whose it is, as on the command line.
        name: the driver's class and what model it drives.
        packages: distributions whose versions are reported.
        make: sets it up for an image size and a scratch folder.
    """

    library: str
    name: str
    packages: tuple[str, ...]
    make: Callable[[int, Path], Session]


def filled(model: nn.Module, *, present: float = 2.0) -> Any:
    """Fill a model's weights, in eval mode, and let its object score say that objects are there.

    Args:
        model: a SAM or SAM 2 of any library.
        present: bias of the last layer of the object score's head, where the model has one.
    """
    fill_(model).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("pred_obj_score_head.layers.2.bias", "pred_obj_score_head.proj_out.bias")):
            parameter.data.fill_(present)
    return model.eval()  # once more: some libraries gather tables when they are told to evaluate


def photograph() -> np.ndarray:
    """The photograph, [H, W, 3], red first."""
    return pictures.read(pictures.PHOTOGRAPH)


def clip() -> list[np.ndarray]:
    """Four frames: the three that there are, and the one in the middle again."""
    frames = [pictures.read(path) for path in pictures.FRAMES]
    return [*frames, frames[1]]


def clicks() -> np.ndarray:
    """Clicks on the photograph, [PROMPTS, 2] as (x, y), well inside and spread out."""
    height, width = photograph().shape[:2]
    steps = np.arange(1, PROMPTS + 1)
    unit = np.stack((steps * 0.754877666 % 1, steps * 0.569840291 % 1), axis=1)
    return np.round((0.1 + 0.8 * unit) * (width, height))


def for_probe(size: int, *, sam2: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The photograph prepared for a model, [1, 3, S, S], two clicks [2, 1, 2] in its pixels, and their labels."""
    picture = photograph()
    image = pictures.for_sam2([picture], size) if sam2 else pictures.for_sam(picture, size)
    return image, torch.tensor([[[0.3, 0.4]], [[0.6, 0.5]]]) * size, torch.ones(2, 1, dtype=torch.int32)


def probe_sam(model: Any, image: Tensor, points: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Image encoder, prompt encoder and mask decoder of SAM 1, as Meta and Ultralytics name them."""
    embedding = model.image_encoder(image)
    sparse, dense = model.prompt_encoder(points=(points, labels), boxes=None, masks=None)
    masks, iou = model.mask_decoder(
        image_embeddings=embedding,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    return {"embedding": embedding, "masks": masks, "iou": iou}


def probe_sam2(model: Any, image: Tensor, points: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """A frame with a click and three that are tracked, as Meta and Ultralytics name the steps."""
    outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    found: dict[str, Tensor] = {}
    click = {"point_coords": points[:1], "point_labels": labels[:1]}
    for frame in range(4):
        encoded = model.forward_image(image * (1 - 0.2 * frame))
        _, features, encodings, sizes = model._prepare_backbone_features(encoded)
        result = model.track_step(
            frame, frame == 0, features, encodings, sizes, click if frame == 0 else None, None, outputs, 4
        )
        outputs["cond_frame_outputs" if frame == 0 else "non_cond_frame_outputs"][frame] = result
        for name in ("pred_masks", "obj_ptr", "maskmem_features"):
            found[f"frame {frame} {name}"] = result[name]
    return found
