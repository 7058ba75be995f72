"""timm's SAM image encoders and SAM 2 trunks, through load_state_dict."""

from collections.abc import Callable, Mapping
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from parity.layouts import probe

Request = Mapping[str, Any]
Made = tuple[nn.Module, Callable[[nn.Module, Mapping[str, Tensor]], dict[str, Tensor]], list[str]]

_NAMES = {"sam_vit_b": "base", "sam_vit_l": "large", "sam_vit_h": "huge"}
_OWN = ("head.norm.weight", "head.norm.bias")
"""A norm behind timm's SAM 2 trunks that no checkpoint of SAM 2 has."""


def make(request: Request) -> Made:
    """Create the model; load our file strictly, but for timm's own norm."""
    import timm

    variant = request["variant"]
    sam2 = probe.family(variant) == "sam2"
    name = f"sam2_hiera_{variant.partition('_hiera_')[2]}" if sam2 else f"samvit_{_NAMES[variant]}_patch16"
    model = timm.create_model(name, **({} if sam2 else {"num_classes": 0}))
    own: list[str] = []
    if not request["save"]:
        state = load_file(request["file"])
        if sam2:
            own = [key for key in _OWN if key in state]
        model.load_state_dict(state, strict=True)
    return model, _trunk if sam2 else _encoder, own


def _encoder(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"image": model.forward_features(given["image"])}


def _trunk(model: Any, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stages = model.forward_intermediates(given["image"], intermediates_only=True)
    return {f"stage_{number}": stage for number, stage in enumerate(stages)}
