"""The models of transformers, driven with its own processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
)
from parity.references.transformers.predictors import sides


def _prompts() -> dict[str, Any]:
    return {"input_points": [clicks()[:, None].tolist()], "input_labels": [[[1]] * PROMPTS]}


def _sam(size: int, folder: Path) -> Session:
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    config = SamConfig(vision_config={"image_size": size}, prompt_encoder_config={"image_size": size})
    config.prompt_encoder_config.image_embedding_size = size // 16
    model = filled(SamModel(config))
    processor = SamProcessor(
        SamImageProcessor(
            size={"longest_edge": size},
            pad_size=sides(size),
            mask_size={"longest_edge": size // 4},
            mask_pad_size=sides(size // 4),
        )
    )

    def run() -> Result:
        given = processor(images=photograph(), return_tensors="pt", **_prompts())
        found = model(
            pixel_values=given["pixel_values"],
            input_points=given["input_points"].float(),
            input_labels=given["input_labels"],
            multimask_output=False,
        )
        (masks,) = processor.image_processor.post_process_masks(
            found.pred_masks,
            given["original_sizes"],
            given["reshaped_input_sizes"],
            binarize=False,
            pad_size=sides(size),
        )
        return Result(masks[:, 0], (found.iou_scores, found.pred_masks))

    return Session(model, run, _probe, for_probe(size, sam2=False))


def _sized(config: Any, size: int) -> Any:
    config.vision_config.backbone_feature_sizes = [[size // stride] * 2 for stride in (4, 8, 16)]
    config.vision_config.backbone_config.image_size = [size, size]
    config.prompt_encoder_config.image_size = size
    if hasattr(config, "image_size"):
        config.image_size = size
    if hasattr(config, "memory_attention_rope_feat_sizes"):
        config.memory_attention_rope_feat_sizes = [size // 16, size // 16]
    return config


def _sam2_image_processor(size: int) -> Any:
    from transformers import Sam2ImageProcessor

    return Sam2ImageProcessor(size=sides(size), mask_size=sides(size // 4))


def _sam2(size: int, folder: Path) -> Session:
    from transformers import Sam2Config, Sam2Model, Sam2Processor

    model = filled(Sam2Model(_sized(Sam2Config(), size)))
    processor = Sam2Processor(image_processor=_sam2_image_processor(size), target_size=size)

    def run() -> Result:
        given = processor(images=photograph(), return_tensors="pt", **_prompts())
        found = model(**given, multimask_output=False)
        (masks,) = processor.post_process_masks(found.pred_masks, given["original_sizes"], binarize=False)
        return Result(masks[:, 0], (found.iou_scores, found.pred_masks, found.object_score_logits))

    return Session(model, run, _probe, for_probe(size, sam2=True))


def _video(size: int, folder: Path) -> Session:
    from transformers import Sam2VideoConfig, Sam2VideoModel, Sam2VideoProcessor, Sam2VideoVideoProcessor

    model = filled(Sam2VideoModel(_sized(Sam2VideoConfig(), size)))
    processor = Sam2VideoProcessor(
        image_processor=_sam2_image_processor(size),
        video_processor=Sam2VideoVideoProcessor(size=sides(size)),
        target_size=size,
    )
    frames = np.stack(clip())

    def run() -> Result:
        session = processor.init_video_session(video=frames, dtype=torch.float32)
        processor.add_inputs_to_inference_session(
            inference_session=session,
            frame_idx=0,
            obj_ids=[number + 1 for number in range(len(OBJECTS))],
            input_points=[[[list(place)] for place in OBJECTS]],
            input_labels=[[[1] for _ in OBJECTS]],
        )
        size_of_clip = [[session.video_height, session.video_width]]
        masks = []
        model(inference_session=session, frame_idx=0)
        for found in model.propagate_in_video_iterator(session):
            (logits,) = processor.post_process_masks(
                [found.pred_masks], original_sizes=size_of_clip, binarize=False
            )
            masks.append(logits[:, 0])
        return Result(torch.cat(masks))

    def probe(model: Any, image: Tensor, points: Tensor, labels: Tensor) -> list[Any]:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        video = torch.cat([image * (1 - 0.2 * frame) for frame in range(4)])
        session = Sam2VideoInferenceSession(
            video=video, video_height=size, video_width=size, dtype=image.dtype
        )
        index = session.obj_id_to_idx(1)
        click = {"point_coords": points[None, :1], "point_labels": labels[None, :1].long()}
        session.add_point_inputs(index, 0, click)
        session.obj_with_new_inputs = [1]
        return [dict(model(inference_session=session, frame_idx=frame)) for frame in range(4)]

    return Session(model, run, probe, for_probe(size, sam2=True))


def _probe(model: Any, image: Tensor, points: Tensor, labels: Tensor) -> dict[str, Any]:
    found = model(pixel_values=image, input_points=points[None], input_labels=labels[None].long())
    return {name: value for name, value in found.items() if value is not None}


_PACKAGES = ("transformers",)

DRIVERS = (
    Driver("transformers", "SamModel vit_b", _PACKAGES, _sam),
    Driver("transformers", "Sam2Model tiny", _PACKAGES, _sam2),
    Driver("transformers", "Sam2VideoModel 2.1 tiny", _PACKAGES, _video),
)
