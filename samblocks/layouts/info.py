"""What the layouts say about one tensor, and the names of the layouts."""

from __future__ import annotations

from typing import NamedTuple

LAYOUTS = ("meta", "ultralytics", "transformers", "timm", "muggled")
"""Every layout that is read and written. "meta" is the one that all others map to and from."""

MODEL_CLASSES = ("SamModel", "Sam2Model", "Sam2VideoModel")
"""The model classes of transformers whose tensors have tables."""


class TensorInfo(NamedTuple):
    """Shape and dtype of one tensor, without its values.

    Args:
        shape: sizes, outermost first; `()` for a scalar.
        dtype: as safetensors names it: "F64", "F32", "F16", "BF16", "I64", "U8", ….
    """

    shape: tuple[int, ...]
    dtype: str = "F32"


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as it stands in messages and manifests.

    >>> shape_text((2, 128)), shape_text(())
    ('2x128', 'scalar')
    """
    return "x".join(str(size) for size in shape) if shape else "scalar"
