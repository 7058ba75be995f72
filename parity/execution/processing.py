"""Our side of what happens around a model: a photograph to its input, and masks to the photograph's size."""

import torch.nn.functional as F
from torch import Tensor

from parity.execution import pictures


def image_for_sam(picture: Tensor, size: int) -> Tensor:
    """A picture [H, W, 3], uint8, as SAM 1's input [1, 3, size, size]; see `parity.execution.pictures.for_sam`."""
    return pictures.for_sam(picture.numpy(force=True), size)


def image_for_sam2(picture: Tensor, size: int) -> Tensor:
    """A picture [H, W, 3], uint8, as SAM 2's input [1, 3, size, size]; see `parity.execution.pictures.for_sam2`."""
    return pictures.for_sam2([picture.numpy(force=True)], size)


def masks_for_picture(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits [B, M, h, w] of a square input, brought to the picture's (height, width)."""
    return F.interpolate(masks, size, mode="bilinear", align_corners=False)
