"""Meta's predictors, and what they do to pixels and coordinates."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.references.common import opencv


def sam(model: Any) -> Any:
    """`SamPredictor` of a model."""
    from segment_anything import SamPredictor

    return SamPredictor(model)


def sam2(model: Any, **settings: Any) -> Any:
    """`SAM2ImagePredictor` of a model, told the sizes of its maps, of which it knows those for 1024 pixels alone.

    Its kernel for connected components runs on CUDA only, and without it holes stay: OpenCV's components stand in.
    """
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    opencv.stand_in()
    predictor = SAM2ImagePredictor(model, **settings)
    predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
    return predictor


def pixels_for_sam(picture: Tensor, size: int) -> Tensor:
    """A picture's bytes as `SamPredictor` resizes them."""
    from segment_anything.utils.transforms import ResizeLongestSide

    return torch.from_numpy(np.array(ResizeLongestSide(size).apply_image(picture.numpy(force=True))))


def coords_for_sam(points: Tensor, original: tuple[int, int], size: int) -> Tensor:
    """Coordinates as `SamPredictor.predict` scales them."""
    from segment_anything.utils.transforms import ResizeLongestSide

    scaled = ResizeLongestSide(size).apply_coords(points.numpy(force=True), original)
    return torch.as_tensor(scaled, dtype=torch.float)


def tensor_coords_for_sam(points: Tensor, original: tuple[int, int], size: int) -> Tensor:
    """Coordinates as its transform for tensors scales them."""
    from segment_anything.utils.transforms import ResizeLongestSide

    scaled: Tensor = ResizeLongestSide(size).apply_coords_torch(points, original)
    return scaled


def coords_for_sam2(points: Tensor, original: tuple[int, int], size: int, pixels: bool) -> Tensor:
    """Coordinates as `SAM2ImagePredictor.predict` scales them."""
    from sam2.utils.transforms import SAM2Transforms

    made = SAM2Transforms(resolution=size, mask_threshold=0.0)
    scaled: Tensor = made.transform_coords(points.clone(), normalize=pixels, orig_hw=original)
    return scaled
