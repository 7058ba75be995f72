"""transformers as a reference: its SAM, SAM 2 and SAM 2 video blocks, made from configurations."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from parity.case import NoCounterpart
from parity.references import (
    torchvision_operators,
    transformers_decoder,
    transformers_memory,
    transformers_sam1,
    transformers_sam2,
    transformers_whole,
    transformers_whole2,
)

_BUILDERS = (
    transformers_sam1.BUILDERS
    | transformers_sam2.BUILDERS
    | transformers_decoder.BUILDERS
    | transformers_memory.BUILDERS
    | transformers_whole.BUILDERS
    | transformers_whole2.BUILDERS
)
_FUNCTIONS = transformers_sam2.FUNCTIONS | transformers_memory.FUNCTIONS


class Transformers:
    """transformers' blocks, spoken to by the reference page's names."""

    name = "transformers"

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        """See `parity.case.Library`."""
        if block not in _BUILDERS:
            raise NoCounterpart(f"transformers has no {block}")
        return _BUILDERS[block](kwargs)

    def function(self, name: str) -> Callable[..., Any]:
        """See `parity.case.Library`."""
        if name not in _FUNCTIONS:
            raise NoCounterpart(f"transformers has no function {name}")
        return _FUNCTIONS[name]()

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.case.Library`."""
        make = transformers_whole2.released_sam2 if "_hiera_" in variant else transformers_whole.released_sam
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
