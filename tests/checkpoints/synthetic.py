"""Checkpoints made up for tests: every tensor's values follow from its name, or there are none at all."""

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from samblocks.checkpoints.writing.write_safetensors import lay_out
from samblocks.layouts.tensors import TensorInfo, describe


def values(name: str, shape: Iterable[int]) -> Tensor:
    """Numbers that no other name has, in no order: between -1 and 1, variances positive."""
    shape = tuple(shape)
    count = torch.Size(shape).numel()
    seed = crc32(name.encode()) % 99991 + 1
    raw = (torch.arange(1, count + 1) * seed) % 100003
    made = (raw.float() / 50001.5 - 1.0).reshape(shape)
    return made.abs() + 0.5 if name.endswith("running_var") else made


def filled(module: nn.Module) -> nn.Module:
    """The module with every weight and buffer set by its name; counters keep their value."""
    with torch.no_grad():
        for name, entry in module.state_dict().items():
            if entry.is_floating_point():
                entry.copy_(values(name, entry.shape))
    return module


def weightless(tensors: Mapping[str, TensorInfo], offset: int = 0) -> dict[str, Tensor]:
    """A state dict that takes no memory: each tensor is one number, which follows from its name, everywhere."""
    return {name: number(name, info.dtype, offset).expand(info.shape) for name, info in tensors.items()}


def number(name: str, dtype: str, offset: int = 0) -> Tensor:
    """A whole number that hardly any other name has, and none with another offset; small ones fit into a byte."""
    made = crc32(name.encode()) % (8_000_000 if dtype != "U8" else 200) + offset
    return torch.tensor(made).to({"F32": torch.float32, "I64": torch.int64, "U8": torch.uint8}[dtype])


def sparse(path: Path, tensors: Mapping[str, TensorInfo], given: Mapping[str, Tensor] | None = None) -> Path:
    """A safetensors file of any size that takes no room on the disk: all zeros but for the given tensors."""
    head, order, size = lay_out(tensors)
    header = json.loads(head[8:])
    with path.open("wb") as stream:
        stream.write(head)
        os.truncate(stream.fileno(), size)
        for name in order:
            if given and name in given:
                stream.seek(len(head) + header[name]["data_offsets"][0])
                stream.write(given[name].contiguous().numpy().tobytes())
    return path


def half(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The same with weights in half precision."""
    return {
        name: TensorInfo(info.shape, "F16" if info.dtype == "F32" else info.dtype)
        for name, info in tensors.items()
    }


def saved(value: object, **options: Any) -> bytes:
    """What torch.save writes."""
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def equal_states(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two state dicts have the same names in the same order, dtypes, shapes and bits."""
    return (
        describe(one) == describe(other)
        and list(one) == list(other)
        and all(torch.equal(one[name], other[name]) for name in one)
    )
