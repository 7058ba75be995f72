"""Meta's way from a picture to a model's input, and from masks to the picture, as its predictors go it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def image_for_sam(picture: Tensor, size: int) -> Tensor:
    """As `SamPredictor.set_image`: the picture is resized as one of whole grey levels."""
    from segment_anything.utils.transforms import ResizeLongestSide

    resized = ResizeLongestSide(size).apply_image(picture.numpy(force=True))
    image: Tensor = _sam(size).preprocess(torch.as_tensor(np.array(resized)).permute(2, 0, 1)[None])
    return image


def image_for_sam_from_tensor(picture: Tensor, size: int) -> Tensor:
    """As its transform for tensors: the picture is resized as one of real numbers."""
    from segment_anything.utils.transforms import ResizeLongestSide

    batch = picture.permute(2, 0, 1)[None].to(torch.get_default_dtype())
    image: Tensor = _sam(size).preprocess(ResizeLongestSide(size).apply_image_torch(batch))
    return image


def image_for_sam2(picture: Tensor, size: int) -> Tensor:
    """As `SAM2ImagePredictor.set_image`."""
    from sam2.utils.transforms import SAM2Transforms

    image: Tensor = SAM2Transforms(resolution=size, mask_threshold=0.0)(picture.numpy(force=True))
    return image[None]


def masks_for_picture(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """As `SAM2ImagePredictor.predict`, without filling of holes."""
    from sam2.utils.transforms import SAM2Transforms

    resized: Tensor = SAM2Transforms(resolution=4 * masks.shape[-1], mask_threshold=0.0).postprocess_masks(
        masks, size
    )
    return resized


class _Encoder(nn.Module):
    """What `Sam.preprocess` asks of an image encoder."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.img_size = size


def _sam(size: int) -> Any:
    from segment_anything.modeling import Sam

    return Sam(image_encoder=_Encoder(size), prompt_encoder=nn.Identity(), mask_decoder=nn.Identity())
