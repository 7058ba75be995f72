"""Write what torch.save writes, one tensor at a time: a zip archive with a pickle and a record per tensor.

The pickle is put together from its instructions, so nothing but names, numbers and tensors can get into it.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Iterable
from math import prod
from typing import IO, Final

from samblocks.checkpoints.reading.pickle_values import STORAGE_DTYPES
from samblocks.checkpoints.tensor_source import TensorSource
from samblocks.layouts import TensorInfo

_ALIGNMENT: Final = 64
_HEADER: Final = 30 + 4  # a zip entry's own header and that of its padding
_STORAGES: Final = {dtype: name for name, dtype in reversed(STORAGE_DTYPES.items()) if "Untyped" not in name}


def write_torch(stream: IO[bytes], source: TensorSource) -> None:
    """Write the archive; `torch.load` reads it, mapped or not.

    Raises:
        ValueError: a tensor's dtype has no storage class in torch.save's format.
    """
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _record(archive, "data.pkl", memoryview(_pickled(source)))
        _record(archive, "byteorder", memoryview(sys.byteorder.encode()))
        for index, name in enumerate(source.tensors):
            _record(archive, f"data/{index}", source.raw(name))
        _record(archive, "version", memoryview(b"3\n"))


def _record(archive: zipfile.ZipFile, name: str, data: memoryview) -> None:
    """Add a record whose bytes begin at a multiple of 64, so that they can be used where they are mapped."""
    entry = zipfile.ZipInfo(f"archive/{name}")
    entry.file_size = data.nbytes
    assert archive.fp is not None
    padding = -(archive.fp.tell() + _HEADER + len(entry.filename)) % _ALIGNMENT
    entry.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding  # the field torch.save pads with
    with archive.open(entry, "w") as record:
        record.write(data)


def _pickled(source: TensorSource) -> bytes:
    """The state dict as a pickle of protocol 2."""
    parts = [b"\x80\x02"]
    if source.envelope:
        parts += [b"}", _text(source.envelope)]
    parts.append(b"}")
    for index, (name, info) in enumerate(source.tensors.items()):
        parts += [_text(name), _tensor(str(index), info, name), b"s"]
    parts.append(b"s." if source.envelope else b".")
    return b"".join(parts)


def _tensor(key: str, info: TensorInfo, name: str) -> bytes:
    """A call of `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`."""
    if info.dtype not in _STORAGES:
        raise ValueError(f"tensor {name!r} is {info.dtype}, which a .pt cannot hold: write .safetensors")
    storage = _tuple(
        [
            _text("storage"),
            _global(_STORAGES[info.dtype]),
            _text(key),
            _text("cpu"),
            _number(prod(info.shape)),
        ]
    )
    strides = [prod(info.shape[axis + 1 :]) for axis in range(len(info.shape))]
    no_hooks = _global("collections.OrderedDict") + b")R"
    arguments = [storage + b"Q", _number(0), _numbers(info.shape), _numbers(strides), b"\x89", no_hooks]
    return _global("torch._utils._rebuild_tensor_v2") + _tuple(arguments) + b"R"


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _global(name: str) -> bytes:
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def _number(value: int) -> bytes:
    raw = value.to_bytes(9, "little", signed=True)
    return b"J" + struct.pack("<i", value) if value < 2**31 else b"\x8a\x09" + raw


def _numbers(values: Iterable[int]) -> bytes:
    return _tuple([_number(value) for value in values])


def _tuple(parts: Iterable[bytes]) -> bytes:
    return b"(" + b"".join(parts) + b"t"
