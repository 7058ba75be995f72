"""What a writer is given: names and shapes at once, the tensors one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from samblocks.checkpoints.dtypes import DTYPE_NAMES
from samblocks.layouts.info import TensorInfo


@dataclass(frozen=True, slots=True)
class Content:
    """Tensors that are to be written, each made only when its turn comes.

    Args:
        tensors: name to shape and dtype, in the order of a `.pt`.
        get: name to tensor; called once for each, in the order that the format wants.
        envelope: key under which the tensors lie in a `.pt`; empty for none.
    """

    tensors: Mapping[str, TensorInfo]
    get: Callable[[str], Tensor]
    envelope: str = ""

    def raw(self, name: str) -> memoryview:
        """The bytes of a tensor, which must be what was announced."""
        info = self.tensors[name]
        tensor = self.get(name).detach().to("cpu").contiguous()
        if tuple(tensor.shape) != info.shape or DTYPE_NAMES.get(tensor.dtype) != info.dtype:
            raise ValueError(f"tensor {name!r} is {tuple(tensor.shape)} {tensor.dtype}, announced as {info}")
        if not tensor.numel():
            return memoryview(b"")
        return tensor.reshape(-1).view(torch.uint8).numpy().data
