"""Instructions of pickles, put together by hand."""

import io
import struct
import zipfile


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def sequence(parts: list[bytes]) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def tensor_of(count: int = 6, shape: tuple[int, ...] = (2, 3), strides: tuple[int, ...] = (3, 1)) -> bytes:
    """The instructions for a tensor, a sound one of shape (2, 3) if nothing else is asked for."""
    storage = (
        sequence([text("storage"), b"ctorch\nFloatStorage\n", text("0"), text("cpu"), number(count)]) + b"Q"
    )
    sizes, steps = (sequence([number(n) for n in numbers]) for numbers in (shape, strides))
    hooks = b"ccollections\nOrderedDict\n)R"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n"
        + sequence([storage, number(0), sizes, steps, b"\x89", hooks])
        + b"R"
    )


def archive_of(pickled: bytes, storage: bytes = bytes(range(24)), name: str = "archive/data/0") -> bytes:
    """An archive like torch.save's around any pickle, with one storage, 0."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr(name, storage)
    return stream.getvalue()
