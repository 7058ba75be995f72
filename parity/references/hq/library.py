"""HQ-SAM's own package, segment_anything_hq: its mask decoder, its whole model, and its builders for any size."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from parity.execution.case import NoCounterpart
from parity.references.common import torchvision_operators
from parity.references.common.dialect import Catalog, Entry, renamed
from parity.references.common.overrides import overridden, sam_sizes

_MODULES = "segment_anything_hq.modeling"
_PARTS = ("ImageEncoderViT", "PromptEncoder")
_LIGHT_SIZE = 1024
"""The size of images for which its TinyViT shapes its early features, whatever it is made for."""


class _Part(nn.Module):
    """An encoder that is made when the whole model is: on its own it answers otherwise than the reference page's."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.make = make

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """A case of this block alone comes here first."""
        raise NoCounterpart("its encoders are compared inside SAMModelHQ")


class HQ(Catalog):
    """The package's decoder, model and builders."""

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        if block in _PARTS:
            return _Part(lambda: super(HQ, self).construct(block, kwargs))
        given = {name: value.make() if isinstance(value, _Part) else value for name, value in kwargs.items()}
        return super().construct(block, given)

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
    entries = {
        name: Entry(f"{_MODULES}:{name}")
        for name in ("MaskDecoderHQ", "TwoWayTransformer", "ImageEncoderViT")
    }
    entries["PromptEncoder"] = Entry(
        f"{_MODULES}:PromptEncoder", renamed(without={"embed_corner_labels": False})
    )
    return HQ("hq", {**entries, "SAMModelHQ": Entry(f"{_MODULES}:Sam")})
