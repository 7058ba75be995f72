"""Meta's mask generators, and what they are made of.

What neither package's wheel holds is put in: torchvision's suppression where its library does not load, in plain
torch, and SAM 2's kernel for connected components, which takes a CUDA compiler: OpenCV's give the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parity.execution.blobs import BlobSAM, BlobSAM2
from parity.references.common import opencv
from parity.references.hosts import nms

Records = list[dict[str, Any]]


def sam(model: nn.Module, **settings: Any) -> Any:
    """`SamAutomaticMaskGenerator` of a model."""
    nms.provide()
    from segment_anything import SamAutomaticMaskGenerator

    return SamAutomaticMaskGenerator(model, **settings)


def sam2(model: Any, **settings: Any) -> Any:
    """`SAM2AutomaticMaskGenerator` of a model, told the sizes of its maps."""
    nms.provide()
    opencv.stand_in()
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    generator = SAM2AutomaticMaskGenerator(model, **settings)
    generator.predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
    return generator


def blobs_by_sam(picture: Tensor, *, ties: bool = True, **settings: Any) -> Records | None:
    """What SAM's generator makes of masks that are drawn by rule; None where it raises IndexError."""
    return _generated(sam(BlobSAM(ties=ties), **settings), picture)


def blobs_by_sam2(picture: Tensor, *, ties: bool = True, **settings: Any) -> Records | None:
    """What SAM 2's generator makes of them; None where it raises IndexError."""
    return _generated(sam2(BlobSAM2(ties=ties), **settings), picture)


def remove_small_regions(masks: Tensor, area: float, mode: str) -> dict[str, Tensor]:
    """Masks [N, H, W] without small regions, and which were changed."""
    from segment_anything.utils.amg import remove_small_regions

    pairs = [remove_small_regions(mask.numpy(force=True), area, mode) for mask in masks]
    return {
        "masks": torch.stack([torch.from_numpy(np.array(mask)) for mask, _ in pairs]),
        "changed": torch.tensor([bool(did) for _, did in pairs]),
    }


def clean_logits(logits: Tensor, hole: float, sprinkle: float, threshold: float) -> Tensor:
    """Logits [B, M, H, W] as SAM 2's image predictor cleans them: they are brought to their own size."""
    opencv.stand_in()
    from sam2.utils.transforms import SAM2Transforms

    made = SAM2Transforms(64, threshold, max_hole_area=hole, max_sprinkle_area=sprinkle)
    cleaned: Tensor = made.postprocess_masks(logits.clone(), tuple(logits.shape[-2:]))
    return cleaned


def fill_holes(logits: Tensor, area: int) -> Tensor:
    """Logits [B, 1, H, W] as SAM 2's video predictor fills their holes."""
    opencv.stand_in()
    from sam2.utils.misc import fill_holes_in_mask_scores

    filled: Tensor = fill_holes_in_mask_scores(logits.clone(), area)
    return filled


def generate_crop_boxes(size: tuple[int, int], layers: int, ratio: float) -> dict[str, Tensor]:
    """Crops of a picture of (height, width), and their layers."""
    from segment_anything.utils.amg import generate_crop_boxes

    boxes, of = generate_crop_boxes(size, layers, ratio)
    return {"boxes": torch.tensor(boxes), "layers": torch.tensor(of)}


def build_all_layer_point_grids(side: int, layers: int, factor: int) -> list[Tensor]:
    """Points of the layers."""
    from segment_anything.utils.amg import build_all_layer_point_grids

    return [torch.from_numpy(grid) for grid in build_all_layer_point_grids(side, layers, factor)]


def is_box_near_crop_edge(boxes: Tensor, crop: Sequence[int], picture: Sequence[int]) -> Tensor:
    """Which boxes [N, 4] a crop's edge has cut."""
    from segment_anything.utils.amg import is_box_near_crop_edge

    near: Tensor = is_box_near_crop_edge(boxes, list(crop), list(picture))
    return near


def run_lengths(masks: Tensor) -> list[Tensor]:
    """Run lengths of masks [N, H, W]."""
    from segment_anything.utils.amg import mask_to_rle_pytorch

    return [torch.tensor(one["counts"]) for one in mask_to_rle_pytorch(masks)]


def _generated(generator: Any, picture: Tensor) -> Records | None:
    try:
        records: Records = generator.generate(picture.numpy(force=True))
    except IndexError:
        return None
    return records
