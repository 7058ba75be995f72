"""Every tensor of a variant in Meta's layout: its name, shape and dtype, in state-dict order.

This is what all other layouts are mapped to and from, and what a file is recognised by.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from samblocks.image_size import ImageSize
from samblocks.layouts.tensors import TensorInfo, describe
from samblocks.models.skeleton import skeleton
from samblocks.variants import SAM2Variant, Variant


def meta_tensors(
    row: Variant,
    *,
    image_size: ImageSize | None = None,
    num_maskmem: int | None = None,
    in_chans: int | None = None,
) -> Mapping[str, TensorInfo]:
    """Every tensor of a variant in Meta's layout, in the order of its state dict.

    Args:
        row: the variant.
        image_size: side of the image in pixels that the model is built for, or its height and width; None for
            the released one. It decides shapes only in the ViT variants of SAM (`pos_embed` and the tables of the
            global blocks).
        num_maskmem: memories that the model is built for; None for the released number. It decides a shape
            only in SAM 2.
        in_chans: channels of the images; None for three.

    Returns:
        name to shape and dtype.

    Raises:
        ValueError: the variant has no model of that image size.

    >>> from samblocks.variants import VARIANTS
    >>> tensors = meta_tensors(VARIANTS["sam2.1_hiera_tiny"])
    >>> len(tensors), tensors["no_obj_embed_spatial"].shape
    (471, (1, 64))
    """
    frames = (num_maskmem or row.tracking.num_maskmem) if isinstance(row, SAM2Variant) else None
    return _tensors(row, image_size or row.image_size, frames, in_chans)


@lru_cache(maxsize=64)
def _tensors(
    row: Variant, image_size: ImageSize, num_maskmem: int | None, in_chans: int | None
) -> Mapping[str, TensorInfo]:
    model = skeleton(row, image_size=image_size, num_maskmem=num_maskmem, in_chans=in_chans)
    return MappingProxyType(describe(model.state_dict()))
