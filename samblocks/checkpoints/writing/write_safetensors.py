"""Write safetensors one tensor at a time, byte for byte as the safetensors library does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import IO, Any, Final

from samblocks.checkpoints.tensor_source import TensorSource
from samblocks.layouts import TensorInfo
from samblocks.layouts.tensors import TORCH_DTYPES, item_size

_RANK: Final = {name: rank for rank, name in enumerate(TORCH_DTYPES)}


def write_safetensors(stream: IO[bytes], source: TensorSource) -> None:
    """Write the header, then the tensors: widest dtype first, then by name."""
    head, order, _ = lay_out(source.tensors)
    stream.write(head)
    for name in order:
        stream.write(source.raw(name))


def lay_out(tensors: Mapping[str, TensorInfo]) -> tuple[bytes, list[str], int]:
    """Work a file out without its values.

    The metadata is what transformers' and Meta's files on the Hub carry, so that the published layouts have
    their published sizes.

    Args:
        tensors: name to shape and dtype.

    Returns:
        The bytes in front of the tensors, the names in the order in which they follow, and the file's size.
    """
    order = sorted(tensors, key=lambda name: (_RANK[tensors[name].dtype], name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in order:
        shape, dtype = tensors[name]
        stop = position + prod(shape) * item_size(dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, stop]}
        position = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return head, order, len(head) + position
