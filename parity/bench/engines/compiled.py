"""`torch.compile` with inductor, weights frozen: the settings that serve inference on a processor best."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def ready(work: nn.Module, inputs: Mapping[str, Tensor], threads: int) -> Callable[[], Any]:
    """A call of the compiled module on its inputs; it is compiled in the first one."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    compiled: Any = torch.compile(work)
    given = tuple(inputs.values())
    return lambda: compiled(*given)
