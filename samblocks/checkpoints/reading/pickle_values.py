"""The inert values that a pickle read as data is made of, and which globals they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

MOST_DIMENSIONS: Final = 16


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
    """A tensor as the pickle describes it, not yet held against the file: offset and strides in elements."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str | None = None


class Opaque:
    """A value that no tensor depends on."""

    __slots__ = ()


CONTAINERS: Final = frozenset({"collections.OrderedDict", "collections.Counter"})
_PLAIN: Final = frozenset(
    {"_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set", "torch.Size", "torch.device"}
    | {"torch.serialization._get_layout", "torch.Tensor", "torch.nn.parameter.Parameter"}
)
REBUILD: Final = frozenset(
    {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"}
    | {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
    | {"torch._tensor._rebuild_from_type_v2"}
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
KNOWN: Final = CONTAINERS | _PLAIN | REBUILD | STORAGE_DTYPES.keys() | SCALAR_DTYPES.keys()


def put(target: dict[Any, Any], key: Any, value: Any) -> None:
    """Set an item. A key that is no plain value gets a stand-in, since hashing it could take for ever."""
    if not isinstance(key, str | int | float | bytes | None):
        key = Opaque()
    elif key in target:
        raise PickleRefused(f"it holds the key {str(key)[:80]!r} twice")
    target[key] = value


def from_pairs(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """An OrderedDict: empty, or made from a list of pairs as Python 2 wrote it."""
    made: dict[Any, Any] = {}
    pairs = arguments[0] if arguments else []
    for pair in pairs if isinstance(pairs, list | tuple) else ():
        key, value = pair
        put(made, key, value)
    return made


def rebuild(function: Global, arguments: tuple[Any, ...]) -> object:
    """What torch's `_rebuild_…` functions would return, as a record."""
    kind = function.name.rpartition(".")[2]
    if kind == "_rebuild_from_type_v2":
        inner, _, inner_arguments, _ = arguments
        if inner in (Global(name) for name in REBUILD) and inner.name != function.name:
            return rebuild(inner, inner_arguments)
        return Opaque()
    if kind in ("_rebuild_parameter", "_rebuild_parameter_with_state"):
        return arguments[0]
    storage, offset, shape, strides = arguments[:4]
    dtype = arguments[6] if kind == "_rebuild_tensor_v3" else None
    if not isinstance(storage, StorageRef):
        raise PickleRefused("it holds a tensor without a storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) != len(strides):
        raise PickleRefused("it holds a tensor whose sizes and strides do not fit together")
    numbers = (offset, *shape[:MOST_DIMENSIONS], *strides[:MOST_DIMENSIONS])
    if len(shape) > MOST_DIMENSIONS or not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        raise PickleRefused("it holds a tensor with negative or impossible sizes, strides or offset")
    return TensorRef(storage, offset, shape, strides, dtype.name if dtype else None)
