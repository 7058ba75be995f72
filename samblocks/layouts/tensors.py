"""What is known of a tensor without its values: shape and dtype, and the names that dtypes have in files."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import torch
from torch import Tensor


class TensorInfo(NamedTuple):
    """Shape and dtype of one tensor, without its values.

    Args:
        shape: sizes, outermost first; `()` for a scalar.
        dtype: as safetensors names it, a key of `TORCH_DTYPES`.
    """

    shape: tuple[int, ...]
    dtype: str = "F32"


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

_INTEGERS: Final = frozenset({"U64", "I64", "U32", "I32", "U16", "I16", "I8", "U8"})


def is_stored_as(dtype: str, needed: str) -> bool:
    """Whether a tensor that a model has as `needed` may be stored as `dtype`: what is read, and what is written.

    >>> is_stored_as("BF16", "F32"), is_stored_as("I32", "I64"), is_stored_as("F8_E4M3", "F32")
    (True, True, False)
    >>> is_stored_as("I64", "F32"), is_stored_as("BOOL", "I64"), is_stored_as("C64", "F32")
    (False, False, False)
    """
    kinds = WEIGHT_DTYPES if needed in WEIGHT_DTYPES else _INTEGERS
    return dtype == needed or dtype in kinds


def item_size(name: str) -> int:
    """Bytes of one element of the dtype that safetensors calls `name`."""
    return TORCH_DTYPES[name].itemsize


def describe(tensors: Mapping[str, Tensor]) -> dict[str, TensorInfo]:
    """Shape and dtype of every tensor of a state dict.

    Raises:
        TypeError: a value is no tensor, or has a dtype that no checkpoint can hold.

    >>> describe({"weight": torch.zeros(2, 3)})
    {'weight': TensorInfo(shape=(2, 3), dtype='F32')}
    """
    infos = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"state_dict[{name!r}] must be a tensor, not {type(tensor).__name__}")
        if tensor.dtype not in DTYPE_NAMES:
            raise TypeError(f"state_dict[{name!r}] has dtype {tensor.dtype}, which no checkpoint can hold")
        infos[name] = TensorInfo(tuple(tensor.shape), DTYPE_NAMES[tensor.dtype])
    return infos


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as it stands in messages and manifests.

    >>> shape_text((2, 128)), shape_text(())
    ('2x128', 'scalar')
    """
    return "x".join(str(size) for size in shape) if shape else "scalar"
