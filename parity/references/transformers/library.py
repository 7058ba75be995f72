"""transformers as a reference: its SAM, SAM 2 and SAM 2 video blocks, made from configurations."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from parity.execution.case import NoCounterpart
from parity.references.common import torchvision_operators
from parity.references.transformers import (
    decoder,
    inside,
    memory,
    predictors,
    sam1,
    sam2,
    sam_hq,
    whole_sam1,
    whole_sam2,
)

_BUILDERS = (
    inside.BUILDERS
    | sam1.BUILDERS
    | sam_hq.BUILDERS
    | sam2.BUILDERS
    | decoder.BUILDERS
    | memory.BUILDERS
    | whole_sam1.BUILDERS
    | whole_sam2.BUILDERS
)
_FUNCTIONS = sam2.FUNCTIONS | memory.FUNCTIONS


class Transformers:
    """transformers' blocks, spoken to by the reference page's names."""

    name = "transformers"

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        if block not in _BUILDERS:
            raise NoCounterpart(f"transformers has no {block}")
        return _BUILDERS[block](kwargs)

    def function(self, name: str) -> Callable[..., Any]:
        """See `parity.execution.case.Library`."""
        if name in inside.FUNCTIONS:
            raise inside.refusal(name, inside.FUNCTIONS[name])
        if name in predictors.FUNCTIONS:
            return predictors.FUNCTIONS[name]
        if name not in _FUNCTIONS:
            raise NoCounterpart(f"transformers has no function {name}")
        return _FUNCTIONS[name]()

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        if variant.startswith("sam_hq_"):
            return sam_hq.released_hq(variant, image_size, options)
        make = whole_sam2.released_sam2 if "_hiera_" in variant else whole_sam1.released_sam
        return make(variant, image_size, options)

    def canonical(self, name: str) -> str:
        """The adapters speak Meta's names already."""
        return name


def library() -> Transformers:
    """The entry point that a worker calls."""
    torchvision_operators.declare_missing()
    import transformers.models.sam.modeling_sam
    import transformers.models.sam2.modeling_sam2
    import transformers.models.sam2_video.modeling_sam2_video

    transformers.logging.set_verbosity_error()
    return Transformers()
