"""Ultralytics as a reference: the reference page's own package, whose names need no translation."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from parity.references.common import torchvision_operators
from parity.references.common.dialect import Catalog
from parity.references.ultralytics import blocks, models


class Ultralytics(Catalog):
    """Ultralytics' blocks and builders."""

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        return models.model(variant, image_size, options)


def library() -> Ultralytics:
    """The entry point that a worker calls."""
    torchvision_operators.declare_missing()
    import ultralytics.models.sam.modules.blocks  # noqa: F401 - fails here, not in the middle of a run

    return Ultralytics("ultralytics", blocks.ENTRIES | models.ENTRIES)
