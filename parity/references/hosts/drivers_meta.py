"""The drivers of sam2 and segment_anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from parity.references.hosts.driver import (
    OBJECTS,
    PROMPTS,
    Driver,
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
from parity.references.meta import models


def _levels(size: int) -> list[tuple[int, int]]:
    """Sizes of the three maps, which the image predictor knows for 1024 pixels alone."""
    return [(size // stride, size // stride) for stride in (4, 8, 16)]


def _image_predictor(size: int, folder: Path) -> Session:
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    predictor = SAM2ImagePredictor(filled(models.model("sam2.1_hiera_tiny", size, {})))
    predictor._bb_feat_sizes = _levels(size)

    def run() -> Result:
        predictor.set_image(photograph())
        masks, iou, low = predictor.predict(
            point_coords=clicks()[:, None],
            point_labels=np.ones((PROMPTS, 1)),
            multimask_output=False,
            return_logits=True,
        )
        return Result(torch.from_numpy(masks)[:, 0], (torch.from_numpy(iou), torch.from_numpy(low)))

    return Session(predictor, run, probe_sam2, for_probe(size, sam2=True))


def _mask_generator(size: int, folder: Path) -> Session:
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    from parity.references.hosts import nms

    nms.provide()
    generator = SAM2AutomaticMaskGenerator(
        filled(models.model("sam2.1_hiera_tiny", size, {})),
        points_per_side=4,
        points_per_batch=16,
        pred_iou_thresh=0.0,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
        multimask_output=False,
    )
    predictor = generator.predictor
    predictor._bb_feat_sizes = _levels(size)

    def run() -> Result:
        seen: list[Tensor] = []
        predict = predictor._predict

        def recording(*args: Any, **kwargs: Any) -> Any:
            answer = predict(*args, **kwargs)
            seen.append(answer[0].flatten(0, 1))
            return answer

        with mock.patch.object(predictor, "_predict", recording):
            found = generator.generate(photograph())
        masks = torch.stack([torch.from_numpy(entry["segmentation"]) for entry in found])
        scores = torch.tensor([(entry["predicted_iou"], entry["stability_score"]) for entry in found])
        return Result(masks, (scores,), _deciding(torch.cat(seen) - generator.mask_threshold, masks))

    return Session(generator, run, probe_sam2, for_probe(size, sam2=True))


def _deciding(logits: Tensor, masks: Tensor) -> Tensor:
    """Of all logits [M, H, W], those that each of the masks [N, H, W], which come in another order, follows from."""
    return torch.stack([logits[((logits > 0) != mask).sum((1, 2)).argmin()] for mask in masks])


def _video(version: str) -> Any:
    def make(size: int, folder: Path) -> Session:
        from PIL import Image
        from sam2.build_sam import build_sam2_video_predictor

        for index, frame in enumerate(clip()):
            Image.fromarray(frame).save(folder / f"{index:05d}.jpg", quality=95)
        predictor = filled(
            build_sam2_video_predictor(
                f"configs/{version}/{version}_hiera_t.yaml",
                None,
                device="cpu",
                hydra_overrides_extra=[f"++model.image_size={size}", "++model.fill_hole_area=0"],
            )
        )

        def run() -> Result:
            state = predictor.init_state(str(folder))
            for number, place in enumerate(OBJECTS):
                predictor.add_new_points_or_box(
                    state,
                    frame_idx=0,
                    obj_id=number + 1,
                    points=np.array([place], np.float32),
                    labels=np.array([1], np.int32),
                )
            frames = [masks[:, 0] for _, _, masks in predictor.propagate_in_video(state)]
            return Result(torch.cat(frames))

        return Session(predictor, run, probe_sam2, for_probe(size, sam2=True))

    return make


def _sam_predictor(size: int, folder: Path) -> Session:
    from segment_anything import SamPredictor

    predictor = SamPredictor(filled(models.model("sam_vit_b", size, {})))

    def run() -> Result:
        picture = photograph()
        predictor.set_image(picture)
        points = predictor.transform.apply_coords_torch(
            torch.from_numpy(clicks()[:, None]), picture.shape[:2]
        )
        masks, iou, low = predictor.predict_torch(
            points, torch.ones(PROMPTS, 1), multimask_output=False, return_logits=True
        )
        return Result(masks[:, 0], (iou, low))

    return Session(predictor, run, probe_sam, for_probe(size, sam2=False))


DRIVERS = (
    Driver("sam2", "SAM2ImagePredictor 2.1 tiny", ("sam2",), _image_predictor),
    Driver("sam2", "SAM2AutomaticMaskGenerator 2.1 tiny", ("sam2",), _mask_generator),
    Driver("sam2", "SAM2VideoPredictor 2.1 tiny", ("sam2",), _video("sam2.1")),
    Driver("sam2", "SAM2VideoPredictor 2.0 tiny", ("sam2",), _video("sam2")),
    Driver("segment_anything", "SamPredictor vit_b", ("segment-anything",), _sam_predictor),
)
