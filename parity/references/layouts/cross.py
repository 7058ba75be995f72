"""The upstream side of crossing files: a library loads our file, strictly, or saves a file of its own.

In both cases it then runs, so that a tensor under a wrong name would show in what comes out.
"""

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.execution import fill
from parity.layouts import probe
from parity.references.common import torchvision_operators
from parity.references.layouts import meta_names, timm
from parity.references.transformers import released

Request = Mapping[str, Any]
Made = tuple[nn.Module, Callable[[nn.Module, Mapping[str, Tensor]], dict[str, Tensor]], list[str]]

LIBRARIES: dict[str, Callable[[Request], Made]] = {
    "segment-anything": meta_names.segment_anything,
    "segment-anything-hq": meta_names.segment_anything_hq,
    "sam2": meta_names.sam2,
    "ultralytics": meta_names.ultralytics,
    "transformers": released.make,
    "timm": timm.make,
}


def respond(request: Request, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Load `request["file"]`, or fill a model and save it there; then run it.

    Args:
        request: `library`, `variant`, `model_class`, `file`, `threads`, and `save`: whether to save.
        tensors: what the model is asked.

    Returns:
        The library's version, what it missed or did not expect, and the number of tensors; and the outputs.
    """
    torchvision_operators.declare_missing()
    torch.set_num_threads(request["threads"])
    model, run, own = LIBRARIES[request["library"]](request)
    if request["save"]:
        fill.fill_(model)
        if request["library"] == "transformers":
            released.agree(model)
        _save(model, request)
    model.eval()
    with torch.no_grad():
        made = run(model, tensors)
    version = metadata.version(request["library"])
    return {"version": version, "own": own, "tensors": len(model.state_dict())}, made


def _save(model: nn.Module, request: Request) -> None:
    file = Path(request["file"])
    if request["library"] == "transformers":
        released.save(model, file)
    elif file.suffix == ".safetensors":
        from safetensors.torch import save_model

        save_model(model, str(file), metadata={"format": "pt"})
    else:
        state = model.state_dict()
        wrapped = probe.family(request["variant"]) == "sam2"
        torch.save({"model": state} if wrapped else state, file)
