"""Ultralytics as a reference: the reference page's own package, whose names need no translation."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from parity.references import torchvision_operators, ultralytics_blocks, ultralytics_models
from parity.references.dialect import Catalog


class Ultralytics(Catalog):
    """Ultralytics' blocks and builders."""

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.case.Library`."""
        return ultralytics_models.model(variant, image_size, options)


def library() -> Ultralytics:
    """The entry point that a worker calls."""
    torchvision_operators.declare_missing()
    import ultralytics.models.sam.modules.blocks  # noqa: F401 - fails here, not in the middle of a run

    return Ultralytics("ultralytics", ultralytics_blocks.ENTRIES | ultralytics_models.ENTRIES)
