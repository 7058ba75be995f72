"""Every tensor of a variant in Meta's layout: its name, shape and dtype, in state-dict order.

This is what all other layouts are mapped to and from, and what a file is recognised by.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from samblocks.layouts.tensors import TensorInfo, describe
from samblocks.models.skeleton import skeleton
from samblocks.variants import SAM2Variant, Variant


def meta_tensors(
    row: Variant, *, image_size: int | None = None, num_maskmem: int | None = None
) -> Mapping[str, TensorInfo]:
    """Every tensor of a variant in Meta's layout, in the order of its state dict.

    Args:
        row: the variant.
        image_size: side of the image in pixels that the model is built for; None for the released one. It
            decides shapes only in the ViT variants of SAM (`pos_embed` and the tables of the global blocks).
        num_maskmem: memories that the model is built for; None for the released number. It decides a shape
            only in SAM 2.

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
    return _tensors(row, image_size or row.image_size, frames)


@lru_cache(maxsize=64)
def _tensors(row: Variant, image_size: int, num_maskmem: int | None) -> Mapping[str, TensorInfo]:
    model = skeleton(row, image_size=image_size, num_maskmem=num_maskmem)
    return MappingProxyType(describe(model.state_dict()))
