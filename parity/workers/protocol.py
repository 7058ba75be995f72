"""Messages between this process and a worker: a JSON header and a safetensors body, each with its length before it."""

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import safetensors.torch
from torch import Tensor

_LENGTHS = struct.Struct("<QQ")


def send(stream: BinaryIO, header: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None) -> None:
    """Write one message and flush."""
    # Copies: safetensors wants contiguous tensors that share no storage.
    body = (
        safetensors.torch.save({k: v.detach().clone().contiguous() for k, v in tensors.items()})
        if tensors
        else b""
    )
    # safetensors files have no order, and the order of inputs is that of a call.
    head = json.dumps([header, list(tensors or ())]).encode()
    stream.write(_LENGTHS.pack(len(head), len(body)))
    stream.write(head)
    stream.write(body)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read one message; raises EOFError when the other side is gone."""
    head_length, body_length = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    header, order = json.loads(_exactly(stream, head_length))
    body = _exactly(stream, body_length)
    tensors = safetensors.torch.load(body) if body else {}
    return header, {name: tensors[name] for name in order}


def _exactly(stream: BinaryIO, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = stream.read(min(count, 1 << 26))
        if not part:
            raise EOFError("the other side closed the pipe")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
