"""The inert values that a pickle read as data is made of, and which globals they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from samblocks.errors import printable

LONGEST_NAME: Final = 1000
"""Characters of a global or of a storage's key: longer ones would be copied and compared again and again."""

LARGEST_KEY: Final = 2**60
"""Integers below it hash to themselves; larger ones can be made to collide, and huge ones take long to hash."""


class PickleRefused(Exception):
    """The pickle is malformed or asks for more than plain containers and tensors."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle asks to import. It is not imported."""

    name: str


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A storage by its key; `dtype` is the element type's global, for example `torch.FloatStorage`."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor as the pickle describes it, not yet held against the file: offset and strides in elements.

    `negative` and `conjugate` say that it stands for the negatives or the conjugates of what is stored.
    """

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str | None = None
    negative: bool = False
    conjugate: bool = False


class Opaque:
    """A value that no tensor depends on."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Instance(Opaque):
    """What calling a global that is refused would have made; `name` is the global's."""

    name: str


CONTAINERS: Final = frozenset({"collections.OrderedDict", "collections.Counter"})
_PLAIN: Final = frozenset(
    {"_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set", "torch.Size", "torch.device"}
    | {"torch.serialization._get_layout", "torch.Tensor", "torch.nn.parameter.Parameter"}
)
STORAGE_DTYPES: Final = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
    "torch.ComplexFloatStorage": "C64",
    "torch.storage.UntypedStorage": "U8",
}
SCALAR_DTYPES: Final = {
    "torch.float64": "F64",
    "torch.float32": "F32",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float8_e4m3fn": "F8_E4M3",
    "torch.float8_e5m2": "F8_E5M2",
    "torch.int64": "I64",
    "torch.int32": "I32",
    "torch.int16": "I16",
    "torch.int8": "I8",
    "torch.uint8": "U8",
    "torch.uint16": "U16",
    "torch.uint32": "U32",
    "torch.uint64": "U64",
    "torch.bool": "BOOL",
    "torch.complex64": "C64",
}
PLAIN: Final = CONTAINERS | _PLAIN | STORAGE_DTYPES.keys() | SCALAR_DTYPES.keys()
"""Names that a pickle may ask for, beside the functions that rebuild tensors."""


def put(target: dict[Any, Any], key: Any, value: Any) -> None:
    """Set an item. A key that is no plain value gets a stand-in, since hashing it could take for ever."""
    if not isinstance(key, str | int | float | bytes | None) or (
        isinstance(key, int) and not -LARGEST_KEY < key < LARGEST_KEY
    ):
        key = Opaque()
    elif key in target:
        raise PickleRefused(f"it holds the key {key_text(key)} twice")
    target[key] = value


def key_text(key: object) -> str:
    """A key as it stands in messages.

    >>> key_text("model"), key_text(3), key_text(10**5000)
    ("'model'", '3', 'int')
    """
    if isinstance(key, str):
        return f"'{printable(key, 60)}'"
    return repr(key) if isinstance(key, int) and -LARGEST_KEY < key < LARGEST_KEY else type(key).__name__
