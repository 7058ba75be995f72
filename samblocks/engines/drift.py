"""A video tracked with exported files in the place of the model's parts: where masks part from eager's, and how far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samblocks.engines import onnxruntime, openvino
from samblocks.engines.attached import Attached, Runner
from samblocks.engines.inductor import CompiledRunner
from samblocks.engines.parts import Part
from samblocks.engines.samples import Samples, doubled
from samblocks.engines.settings import Settings, require
from samblocks.predict.video.predictor import VideoPredictor

OBJECTS = 2
"""How many objects are tracked."""


def film(side: int, frames: int) -> np.ndarray:
    """A made-up clip [T, S, S, 3] of bytes: two shapes that move over a pattern, each on its own way."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    pattern = 96 + 48 * np.sin(23 * rows) * np.cos(31 * columns)
    clip = np.empty((frames, side, side, 3), np.uint8)
    for number in range(frames):
        picture = np.repeat(pattern[..., None], 3, axis=2)
        for place, colour in enumerate(((230, 60, 40), (50, 90, 220))):
            turn = 2 * np.pi * (number / 48 + place / 2)
            y, x = 0.5 + 0.25 * np.sin(turn), 0.5 + 0.25 * np.cos(turn * (1 + place / 3))
            inside = (rows - y) ** 2 + (columns - x) ** 2 < (0.14 - 0.04 * place) ** 2
            picture[inside] = colour
        clip[number] = picture.round()
    return clip


def track(model: Any, clip: np.ndarray) -> list[Tensor]:
    """Masks [2, 1, S, S] of every frame, from a click and a box on the first."""
    predictor = VideoPredictor(model)
    state = predictor.init_state(clip)
    side = clip.shape[1]
    first, second = (0.75 * side, 0.5 * side), (0.25 * side, 0.5 * side)
    predictor.add_new_points_or_box(state, frame_idx=0, obj_id=1, points=[first], labels=[1])
    box = [second[0] - 0.12 * side, second[1] - 0.12 * side, second[0] + 0.12 * side, second[1] + 0.12 * side]
    predictor.add_new_points_or_box(state, frame_idx=0, obj_id=2, box=box)
    return [masks.clone() for _, _, masks in predictor.propagate_in_video(state)]


def drift(
    model: Any,
    parts: Sequence[Part],
    samples: Samples,
    folder: Path,
    format: str,
    precision: str,
    frames: int,
) -> dict[str, Any]:
    """Track a clip in eager, then with the files of a folder, and compare frame by frame.

    Args:
        model: SAM 2.
        parts: those that were exported.
        samples: of their graphs.
        folder: where the files are.
        format: of the files.
        precision: of the files.
        frames: how many.

    Returns:
        For the card: the first frame on which a pixel differs, and the curve.
    """
    clip = film(int(model.image_size), frames)
    with torch.inference_mode(False), torch.no_grad():
        eager = track(model, clip)
        attached = [
            _attached(part, samples, folder, format, precision) for part in parts if part.made_up() is None
        ]
        try:
            for one in attached:
                one.attach()
            found = track(model, clip)
        finally:
            for one in attached:
                one.detach()
    curve = [_compared(number, a, b) for number, (a, b) in enumerate(zip(found, eager, strict=True))]
    return {
        "frames": frames,
        "objects": OBJECTS,
        "side": int(model.image_size),
        "first_frame_that_differs": next((row["frame"] for row in curve if row["flipped"]), None),
        "calls": {one.part.path: dict(one.calls) for one in attached},
        "curve": curve,
    }


def _compared(number: int, found: Tensor, eager: Tensor) -> dict[str, Any]:
    both, either = (
        ((found > 0) & (eager > 0)).flatten(1).sum(1),
        ((found > 0) | (eager > 0)).flatten(1).sum(1),
    )
    iou = torch.where(either > 0, both / either.clamp(min=1), 1.0)
    return {
        "frame": number,
        "largest": float((found.double() - eager.double()).abs().max()),
        "flipped": int(((found > 0) != (eager > 0)).sum()),
        "iou": float(iou.mean()),
        "foreground": float((eager > 0).double().mean()),
    }


def _attached(part: Part, samples: Samples, folder: Path, format: str, precision: str) -> Attached:
    runners = {name: _runner(part, name, folder, format, precision) for name in part.graphs}
    shapes = {
        name: tuple(tuple(x.shape) for x in doubled(part, name, samples[name][0])) for name in part.graphs
    }
    return Attached(part, runners, shapes)


def _runner(part: Part, name: str, folder: Path, format: str, precision: str) -> Runner:
    if format == "onnx":
        return onnxruntime.compiled((folder / f"{name}.onnx").read_bytes(), list(part.graphs[name].inputs))
    if format == "openvino":
        core = require("openvino", "openvino").Core()
        return openvino.compiled(
            core.read_model(str(folder / f"{name}.xml")), Settings("openvino", precision)
        )
    return CompiledRunner(torch.export.load(str(folder / f"{name}.pt2")).module())
