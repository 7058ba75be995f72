"""HQ-SAM's own package, segment_anything_hq: its mask decoder, and its builders for any image size."""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from parity.execution.case import NoCounterpart
from parity.references.common import torchvision_operators
from parity.references.common.dialect import Catalog, Entry
from parity.references.common.overrides import overridden, sam_sizes

_MODULES = "segment_anything_hq.modeling"
_LIGHT_SIZE = 1024
"""The size of images for which its TinyViT shapes its early features, whatever it is made for."""


class HQ(Catalog):
    """The package's decoder and builders."""

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        if not variant.startswith("sam_hq_vit_"):
            raise NoCounterpart(f"segment_anything_hq has no {variant}")
        if options:
            raise NoCounterpart(f"its models have no options, this case sets {', '.join(options)}")
        name = variant.removeprefix("sam_hq_")
        if name == "vit_tiny" and image_size != _LIGHT_SIZE:
            raise NoCounterpart(f"its TinyViT takes images of {_LIGHT_SIZE} pixels only")
        builder = importlib.import_module("segment_anything_hq.build_sam")
        with overridden(builder, sam_sizes(image_size)):
            model: nn.Module = builder.sam_model_registry[name](checkpoint=None)
        return model


def library() -> HQ:
    """The entry point that a worker calls."""
    torchvision_operators.declare_missing()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it registers models of timm's names anew
        importlib.import_module(_MODULES)
    blocks = ("MaskDecoderHQ", "TwoWayTransformer")
    return HQ("hq", {name: Entry(f"{_MODULES}:{name}") for name in blocks})
