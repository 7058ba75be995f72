"""Where a writer gets tensors from: names and shapes at once, the tensors one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from samblocks.layouts.tensors import DTYPE_NAMES, WEIGHT_DTYPES, TensorInfo


@dataclass(frozen=True, slots=True)
class TensorSource:
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

    def cast(self, dtype: torch.dtype | None) -> TensorSource:
        """The same with every weight in another dtype; integers are unchanged."""
        if dtype is None:
            return self
        infos = {
            name: TensorInfo(info.shape, cast_name(info.dtype, dtype)) for name, info in self.tensors.items()
        }
        return TensorSource(infos, lambda name: cast(self.get(name), dtype), self.envelope)


def cast(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """A weight in another dtype; unchanged if that is None, as integers always are."""
    return (
        tensor.to(dtype) if dtype is not None and DTYPE_NAMES.get(tensor.dtype) in WEIGHT_DTYPES else tensor
    )


def cast_name(name: str, dtype: torch.dtype | None) -> str:
    """What `cast` makes of a dtype, by safetensors' names."""
    return DTYPE_NAMES[dtype] if dtype is not None and name in WEIGHT_DTYPES else name


def check_dtype(dtype: torch.dtype | None) -> None:
    """Raise `ValueError` unless weights can be stored as `dtype`."""
    if dtype is not None and DTYPE_NAMES.get(dtype) not in WEIGHT_DTYPES:
        raise ValueError(f"dtype must be torch.float32, float64, float16 or bfloat16, not {dtype}")
