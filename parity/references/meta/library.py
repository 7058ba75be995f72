"""Meta as a reference: segment_anything for SAM's blocks, sam2 for SAM 2's and for those that both have."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from parity.references.common import torchvision_operators
from parity.references.common.dialect import Catalog
from parity.references.meta import blocks, models


class Meta(Catalog):
    """Meta's blocks and builders."""

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        return models.model(variant, image_size, options)


def library() -> Meta:
    """The entry point that a worker calls."""
    torchvision_operators.declare_missing()
    import sam2.modeling.sam2_base  # noqa: F401 - fails here, not in the middle of a run
    import segment_anything.modeling  # noqa: F401

    return Meta("meta", blocks.ENTRIES | models.ENTRIES)
