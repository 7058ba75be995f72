"""Write safetensors one tensor at a time, byte for byte as the safetensors library does."""

from __future__ import annotations

import json
from math import prod
from typing import IO, Any, Final

from samblocks.checkpoints.content import Content
from samblocks.checkpoints.dtypes import TORCH_DTYPES, item_size

_RANK: Final = {name: rank for rank, name in enumerate(TORCH_DTYPES)}


def write_safetensors(stream: IO[bytes], content: Content) -> None:
    """Write the header, then the tensors: widest dtype first, then by name.

    The metadata is what transformers and Meta's files on the Hub carry, so that the published layouts have
    their published sizes.
    """
    order = sorted(content.tensors, key=lambda name: (_RANK[content.tensors[name].dtype], name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in order:
        shape, dtype = content.tensors[name]
        stop = position + prod(shape) * item_size(dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, stop]}
        position = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        stream.write(content.raw(name))
