"""The dtypes that a checkpoint may hold, by the names that safetensors gives them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import torch

TORCH_DTYPES: Final = MappingProxyType(
    {
        "U64": torch.uint64,
        "I64": torch.int64,
        "F64": torch.float64,
        "C64": torch.complex64,
        "F32": torch.float32,
        "U32": torch.uint32,
        "I32": torch.int32,
        "BF16": torch.bfloat16,
        "F16": torch.float16,
        "U16": torch.uint16,
        "I16": torch.int16,
        "F8_E4M3": torch.float8_e4m3fn,
        "F8_E5M2": torch.float8_e5m2,
        "I8": torch.int8,
        "U8": torch.uint8,
        "BOOL": torch.bool,
    }
)
"""Safetensors' name of a dtype to torch's dtype, in the order in which safetensors lays tensors down."""

DTYPE_NAMES: Final = MappingProxyType({dtype: name for name, dtype in TORCH_DTYPES.items()})

WEIGHT_DTYPES: Final = frozenset({"F64", "F32", "F16", "BF16"})
"""What a weight may be stored as. What is quantized, integer or complex is no weight of these models."""


def item_size(name: str) -> int:
    """Bytes of one element of the dtype that safetensors calls `name`."""
    return TORCH_DTYPES[name].itemsize
