"""Our side of cases about predictors, where it is not a class of `samblocks.predict` itself."""

import torch
from torch import Tensor

from samblocks.predict.transforms import ResizeLongestSide, SAM2Transforms


def pixels_for_sam(picture: Tensor, size: int) -> Tensor:
    """A picture's bytes, resized so that its longest side is `size`."""
    return torch.from_numpy(ResizeLongestSide(size).apply_image(picture.numpy(force=True)))


def coords_for_sam(points: Tensor, original: tuple[int, int], size: int) -> Tensor:
    """Coordinates in a picture of (height, width), in the resized one."""
    return torch.from_numpy(ResizeLongestSide(size).apply_coords(points.numpy(force=True), original)).to(
        points.dtype
    )


def tensor_coords_for_sam(points: Tensor, original: tuple[int, int], size: int) -> Tensor:
    """As `coords_for_sam`, by the transform for tensors."""
    return ResizeLongestSide(size).apply_coords_torch(points, original)


def coords_for_sam2(points: Tensor, original: tuple[int, int], size: int, pixels: bool) -> Tensor:
    """Coordinates in a picture of (height, width), or fractions of its sides, in the square."""
    return SAM2Transforms(size).transform_coords(points, normalize=pixels, orig_hw=original)
