"""Libraries that have Meta's names: segment_anything, sam2 and Ultralytics, each through its own loader."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from parity.layouts import probe
from parity.references.meta import models

Request = Mapping[str, Any]
Made = tuple[nn.Module, Callable[[nn.Module, Mapping[str, Tensor]], dict[str, Tensor]], list[str]]


def _ask(request: Request) -> Callable[[nn.Module, Mapping[str, Tensor]], dict[str, Tensor]]:
    return lambda model, tensors: probe.outputs(model, request["variant"], tensors)


def segment_anything(request: Request) -> Made:
    """`sam_model_registry`, which loads strictly."""
    from segment_anything import sam_model_registry

    file = None if request["save"] else request["file"]
    model = sam_model_registry[request["variant"].removeprefix("sam_")](checkpoint=file)
    return model, _ask(request), []


def segment_anything_hq(request: Request) -> Made:
    """Its `sam_model_registry`; one of its loaders is not strict, so that the model's own is asked."""
    import torch
    from segment_anything_hq import sam_model_registry

    model = sam_model_registry[request["variant"].removeprefix("sam_hq_")](checkpoint=None)
    if not request["save"]:
        model.load_state_dict(torch.load(request["file"], weights_only=True), strict=True)
    return model, _ask(request), []


def sam2(request: Request) -> Made:
    """`build_sam2`, which loads strictly."""
    from sam2.build_sam import build_sam2

    file = None if request["save"] else request["file"]
    model = build_sam2(models.config(request["variant"]), file, device="cpu")
    return model, _ask(request), []


def ultralytics(request: Request) -> Made:
    """`build_sam`, which knows a model by the name of its file and loads strictly."""
    from ultralytics.models.sam.build import build_sam

    if request["save"]:
        from parity.references.ultralytics import models

        return models.model(request["variant"], 1024, {}), _ask(request), []
    return build_sam(request["file"]), _ask(request), []
