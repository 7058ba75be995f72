"""Our side of cases about mask generators and what they are made of, by upstream's names."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from parity.execution.blobs import BlobSAM, BlobSAM2
from samblocks.predict import (
    SAM2AutomaticMaskGenerator,
    SamAutomaticMaskGenerator,
    components,
    crops,
    measures,
    rle,
)

Records = list[dict[str, Any]]


def blobs_by_sam(picture: Tensor, *, ties: bool = True, **settings: Any) -> Records:
    """What SAM's generator makes of masks that are drawn by rule."""
    return SamAutomaticMaskGenerator(BlobSAM(ties=ties), **settings).generate(picture.numpy(force=True))


def blobs_by_sam2(picture: Tensor, *, ties: bool = True, **settings: Any) -> Records:
    """What SAM 2's generator makes of them."""
    return SAM2AutomaticMaskGenerator(BlobSAM2(ties=ties), **settings).generate(picture.numpy(force=True))


def remove_small_regions(masks: Tensor, area: float, mode: Any) -> dict[str, Tensor]:
    """Masks [N, H, W] without small regions, and which were changed."""
    pairs = [components.remove_small_regions(mask, area, mode) for mask in masks]
    return {
        "masks": torch.stack([mask for mask, _ in pairs]),
        "changed": torch.tensor([did for _, did in pairs]),
    }


def clean_logits(logits: Tensor, hole: float, sprinkle: float, threshold: float) -> Tensor:
    """Logits [B, M, H, W] as SAM 2's image predictor cleans them."""
    return components.clean_logits(logits, hole, sprinkle, threshold=threshold)


def fill_holes(logits: Tensor, area: int) -> Tensor:
    """Logits [B, 1, H, W] as SAM 2's video predictor fills their holes."""
    return components.fill_holes(logits, area)


def calculate_stability_score(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """Stability of masks [N, H, W]."""
    return measures.calculate_stability_score(logits, threshold, offset)


def batched_mask_to_box(masks: Tensor) -> Tensor:
    """Boxes of masks [..., H, W]."""
    return measures.batched_mask_to_box(masks)


def is_box_near_crop_edge(boxes: Tensor, crop: Sequence[int], picture: Sequence[int]) -> Tensor:
    """Which boxes [N, 4] a crop's edge has cut."""
    return crops.is_box_near_crop_edge(boxes, tuple(crop), tuple(picture))  # type: ignore[arg-type]


def generate_crop_boxes(size: tuple[int, int], layers: int, ratio: float) -> dict[str, Tensor]:
    """Crops of a picture of (height, width), and their layers."""
    boxes, of = crops.generate_crop_boxes(size, layers, ratio)
    return {"boxes": torch.tensor(boxes), "layers": torch.tensor(of)}


def build_all_layer_point_grids(side: int, layers: int, factor: int) -> list[Tensor]:
    """Points of the layers."""
    return [torch.from_numpy(grid) for grid in crops.build_all_layer_point_grids(side, layers, factor)]


def run_lengths(masks: Tensor) -> list[Tensor]:
    """Run lengths of masks [N, H, W]."""
    return [torch.tensor(one["counts"]) for one in rle.encode(masks)]
