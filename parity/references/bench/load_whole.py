"""segment_anything's own way from a checkpoint to a model, measured; runs in the references' environment."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parity.bench.load import touch
from parity.bench.memory import measured
from parity.references.common import torchvision_operators


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Build and load once, and read every page of every parameter; answers seconds and memory."""
    torchvision_operators.declare_missing()
    from segment_anything import sam_model_registry

    torch.set_num_threads(request["threads"])

    def load() -> nn.Module:
        model: nn.Module = sam_model_registry["vit_h"](checkpoint=request["file"])
        touch(model.parameters())
        return model

    return measured(load), {}
