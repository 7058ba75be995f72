"""Sizes of safetensors files that others have published, in bytes."""

from samblocks.checkpoints import published

_META_NAMES = {
    "sam2_hiera_tiny": 155840544,
    "sam2_hiera_small": 184237544,
    "sam2_hiera_base_plus": 323407992,
    "sam2_hiera_large": 897827480,
    "sam2.1_hiera_tiny": 155906872,
    "sam2.1_hiera_small": 184303872,
    "sam2.1_hiera_base_plus": 323474320,
    "sam2.1_hiera_large": 897893808,
}
"""Meta's names in safetensors, as Kijai/sam2-safetensors on the Hub has them."""


def published_size(layout: str, variant: str) -> int | None:
    """The size of the published safetensors file of a whole model, or None where none is known.

    Args:
        layout: one of `samblocks.layouts.LAYOUTS`; for transformers the class that holds everything is meant.
        variant: the variant.
    """
    if layout == "meta":
        return _META_NAMES.get(variant)
    known = published.read_lock()
    for entry in (*known.entries, *known.unlocked):
        if (
            entry.layout == layout
            and entry.variant == variant
            and (entry.filename or "").endswith("safetensors")
        ):
            return entry.bytes
    return None
