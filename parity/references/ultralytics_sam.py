"""Ultralytics as a reference: the reference page's own package, whose names need no translation."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from parity.references import torchvision_operators, ultralytics_models
from parity.references.dialect import Catalog, Entry, renamed

_MODULES = "ultralytics.models.sam.modules"
_IGNORED = renamed(without={"rel_pos_zero_init": True})

_ENTRIES = {
    **{
        name: Entry(f"{_MODULES}.blocks:{name}")
        for name in (
            "DropPath",
            "MaskDownSampler",
            "CXBlock",
            "Fuser",
            "SAM2TwoWayAttentionBlock",
            "SAM2TwoWayTransformer",
            "RoPEAttention",
            "MultiScaleAttention",
            "MultiScaleBlock",
            "PositionEmbeddingSine",
            "PositionEmbeddingRandom",
            "PatchEmbed",
            "do_pool",
        )
    },
    "Block": Entry(f"{_MODULES}.blocks:Block", _IGNORED),
    "REAttention": Entry(f"{_MODULES}.blocks:REAttention", _IGNORED),
}


class Ultralytics(Catalog):
    """Ultralytics' blocks and builders."""

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.case.Library`."""
        return ultralytics_models.model(variant, image_size, options)


def library() -> Ultralytics:
    """The entry point that a worker calls."""
    torchvision_operators.declare_missing()
    import ultralytics.models.sam.modules.blocks  # noqa: F401 - fails here, not in the middle of a run

    return Ultralytics("ultralytics", _ENTRIES | ultralytics_models.ENTRIES)
