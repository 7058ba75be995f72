"""A pickle read as data: its instructions are followed, but nothing that it names is imported or called.

`torch.load(weights_only=True)` runs a restricted unpickler that still calls a hundred functions. Here none is
called at all: tensors become records of where their bytes lie, known containers become plain ones, and every
other global is only noted, so that a refusal can list what the file asked for. What `weights_only=True`
refuses is refused here too.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from samblocks.checkpoints.reading.pickle_values import (
    CONTAINERS,
    LARGEST_KEY,
    LONGEST_NAME,
    PLAIN,
    Global,
    Instance,
    Opaque,
    PickleRefused,
    StorageRef,
    TensorRef,
    put,
)
from samblocks.checkpoints.reading.rebuilt_tensors import ARGUMENTS, rebuild
from samblocks.errors import printable

MOST_STEPS: Final = 4_000_000
"""A training checkpoint of the largest model takes about 100,000, a list of losses one for each."""

MOST_KEPT: Final = 2_000_000
"""Containers, entries and memoized values: what takes memory, at most 200 bytes each. Numbers in lists do not count."""

KNOWN: Final = PLAIN | ARGUMENTS.keys()
"""Every name that a pickle may ask for."""

_NUMBERS: Final = (int, float, bool, type(None))
_FIRST: Final = 16
"""Items of a list that are kept whatever they are; of the others, numbers are skipped: no tensor depends on them."""


@dataclass(slots=True)
class Unpickled:
    """What one pickle holds: its root value, the globals that are refused, its tensors' storages."""

    root: object
    refused: tuple[str, ...]
    storages: dict[str, StorageRef]
    end: int


def read_pickle(data: bytes) -> Unpickled:
    """Follow one pickle from the start of `data` to its STOP.

    Raises:
        PickleRefused: it is malformed or longer than any checkpoint's.
    """
    return _Reader(data).run()


@dataclass(slots=True)
class _Reader:
    """The pickle machine: a stack, marks and a memo, over inert values."""

    data: bytes
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    refused: dict[str, None] = field(default_factory=dict)
    storages: dict[str, StorageRef] = field(default_factory=dict)
    steps: int = 0
    kept: int = 0
    copied: int = 0

    def run(self) -> Unpickled:
        stream = io.BytesIO(self.data)
        try:
            for name, argument in _operations(stream):
                self.steps += 1
                if self.steps > MOST_STEPS:
                    raise PickleRefused(f"its pickle has more than {MOST_STEPS:,} instructions")
                if name == "STOP":
                    return Unpickled(self.stack.pop(), tuple(self.refused), self.storages, stream.tell())
                if name in _PUSHES_ARGUMENT:
                    self.stack.append(argument)
                else:
                    _HANDLERS[name](self, argument)
        except PickleRefused:
            raise
        except (
            KeyError,
            ValueError,
            IndexError,
            TypeError,
            AttributeError,
            UnicodeError,
            OverflowError,
            MemoryError,
        ):
            raise PickleRefused("its pickle is damaged") from None
        raise PickleRefused("its pickle has no end")

    def keep(self, values: int) -> None:
        """Count values that stay in memory."""
        self.kept += values
        if self.kept > MOST_KEPT:
            raise PickleRefused(f"its pickle keeps more than {MOST_KEPT:,} values")

    def push(self, made: Any) -> None:
        """Put a new container, tensor or stand-in on the stack."""
        self.keep(1)
        self.stack.append(made)

    def mark(self, _: Any) -> None:
        self.keep(1)
        self.marks.append(self.stack)
        self.stack = []

    def popped(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def find(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleRefused("its pickle names a global by something that is no text")
        if len(module) + len(name) > LONGEST_NAME:
            raise PickleRefused("its pickle names a global by a text that is too long")
        found = Global(f"{_OLD_MODULES.get(module, module)}.{name}")
        if found.name not in KNOWN:
            self.refused[f"{module}.{name}"] = None
        return found

    def call(self, function: Any, arguments: Any) -> object:
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            return Opaque()
        if function.name not in KNOWN:
            return Instance(function.name)
        if function.name in CONTAINERS:
            return self.table(arguments[0] if arguments else ())
        if function.name in ARGUMENTS:
            return rebuild(function, arguments)
        if function.name in ("torch.Tensor", "torch.nn.parameter.Parameter"):
            raise PickleRefused(f"it makes a tensor by {function.name}, which no torch.save of today writes")
        if function.name == "torch.Size" and arguments and isinstance(arguments[0], tuple):
            return arguments[0]
        return Opaque()

    def table(self, content: Any) -> dict[Any, Any]:
        """An OrderedDict: empty, a copy, or made from a list of pairs as Python 2 wrote it."""
        made: dict[Any, Any] = {}
        if isinstance(content, dict | list | tuple):
            self.copied += len(content)
            if (
                self.copied > self.steps
            ):  # each entry took instructions of its own, unless one table is copied often
                raise PickleRefused("its pickle copies one table again and again")
            self.keep(len(content))
            for key, value in content.items() if isinstance(content, dict) else content:
                put(made, key, value)
        return made

    def set_items(self, target: Any, items: list[Any]) -> None:
        if len(items) % 2:
            raise ValueError
        if isinstance(target, Opaque):
            return
        if not isinstance(target, dict):
            raise PickleRefused("its pickle sets items of what is no table")
        self.keep(len(items) // 2)
        for key, value in zip(items[::2], items[1::2], strict=True):
            put(target, key, value)

    def extend(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, Opaque):
            return
        if not isinstance(target, list):
            raise PickleRefused("its pickle adds items to what is no list")
        free = max(0, _FIRST - len(target))
        kept = items[:free] + [item for item in items[free:] if not isinstance(item, _NUMBERS)]
        self.keep(len(kept))
        target.extend(kept)

    def persistent(self, name: Any) -> None:
        match name:
            case ("storage", Global(name=dtype), str(key), _, int(count), *rest):
                if any(part is not None for part in rest):
                    raise PickleRefused("it stores views of storages the way PyTorch 0.3 did")
                if len(key) > LONGEST_NAME or not -1 < count < LARGEST_KEY:
                    raise PickleRefused("it holds a storage with an impossible key or size")
                storage = StorageRef(key, dtype, count)
                if self.storages.setdefault(key, storage) != storage:
                    raise PickleRefused(f"it gives its storage '{printable(key, 40)}' two types or sizes")
                self.push(storage)
            case _:
                raise PickleRefused("its pickle refers to something that is no tensor storage")


def _operations(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    for operation, argument, _ in pickletools.genops(stream):
        yield operation.name, argument


_OLD_MODULES: Final = {"__builtin__": "builtins", "torch.tensor": "torch._tensor"}

_PUSHES_ARGUMENT: Final = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
    | {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)


def _pushing(make: Callable[[], Any]) -> Callable[[_Reader, Any], None]:
    return lambda reader, _: reader.push(make())


def _constant(value: Any) -> Callable[[_Reader, Any], None]:
    return lambda reader, _: reader.stack.append(value)


def _tupling(count: int) -> Callable[[_Reader, Any], None]:
    def handler(reader: _Reader, _: Any) -> None:
        if len(reader.stack) < count:
            raise IndexError
        reader.keep(1)
        reader.stack[-count:] = [tuple(reader.stack[-count:])]

    return handler


def _of_popped(make: Callable[[list[Any]], Any]) -> Callable[[_Reader, Any], None]:
    def handler(reader: _Reader, _: Any) -> None:
        made = make(reader.popped())
        reader.push(made)

    return handler


def _pop(reader: _Reader, _: Any) -> None:
    if reader.stack:
        reader.stack.pop()
    else:
        reader.popped()


def _pop_mark(reader: _Reader, _: Any) -> None:
    reader.popped()


def _append(reader: _Reader, _: Any) -> None:
    value = reader.stack.pop()
    reader.extend(reader.stack[-1], [value])


def _appends(reader: _Reader, _: Any) -> None:
    items = reader.popped()
    reader.extend(reader.stack[-1], items)


def _set_item(reader: _Reader, _: Any) -> None:
    value, key = reader.stack.pop(), reader.stack.pop()
    reader.set_items(reader.stack[-1], [key, value])


def _set_items(reader: _Reader, _: Any) -> None:
    items = reader.popped()
    reader.set_items(reader.stack[-1], items)


def _dictionary(reader: _Reader, _: Any) -> None:
    items, made = reader.popped(), dict[Any, Any]()
    reader.set_items(made, items)
    reader.push(made)


def _global(reader: _Reader, argument: Any) -> None:
    module, _, name = argument.partition(" ")
    reader.push(reader.find(module, name))


def _stack_global(reader: _Reader, _: Any) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    reader.push(reader.find(module, name))


def _reduce(reader: _Reader, _: Any) -> None:
    arguments, function = reader.stack.pop(), reader.stack.pop()
    reader.push(reader.call(function, arguments))


def _new_with_keywords(reader: _Reader, _: Any) -> None:
    reader.stack.pop()
    _reduce(reader, None)


def _object(reader: _Reader, _: Any) -> None:
    function, *arguments = reader.popped()
    reader.push(reader.call(function, tuple(arguments)))


def _instance(reader: _Reader, argument: Any) -> None:
    arguments = tuple(reader.popped())
    module, _, name = argument.partition(" ")
    reader.push(reader.call(reader.find(module, name), arguments))


def _build(reader: _Reader, _: Any) -> None:
    reader.stack.pop()  # attributes, such as a state dict's _metadata: no tensor depends on them
    if isinstance(reader.stack[-1], TensorRef | StorageRef):
        raise PickleRefused("its pickle changes a tensor after it was made")


def _extension(reader: _Reader, argument: Any) -> None:
    reader.push(reader.find("copyreg", f"extension_{argument}"))


def _get(reader: _Reader, argument: Any) -> None:
    index = _index(argument)
    if index not in reader.memo:
        raise PickleRefused(f"its pickle uses value {index}, which nothing defined")
    reader.stack.append(reader.memo[index])


def _memoize(reader: _Reader, argument: Any) -> None:
    reader.keep(1)
    reader.memo[len(reader.memo) if argument is None else _index(argument)] = reader.stack[-1]


def _index(argument: Any) -> int:
    index = int(argument)
    if not -1 < index < LARGEST_KEY:
        raise PickleRefused("its pickle numbers a value in an impossible way")
    return index


def _nothing(reader: _Reader, _: Any) -> None:
    """PROTO and FRAME: bookkeeping of the stream."""


_HANDLERS: Final[dict[str, Callable[[_Reader, Any], None]]] = {
    "PROTO": _nothing,
    "FRAME": _nothing,
    "MARK": _Reader.mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda reader, _: reader.stack.append(reader.stack[-1]),
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "EMPTY_LIST": _pushing(list),
    "EMPTY_DICT": _pushing(dict),
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_SET": _pushing(Opaque),
    "TUPLE1": _tupling(1),
    "TUPLE2": _tupling(2),
    "TUPLE3": _tupling(3),
    "TUPLE": _of_popped(tuple),
    "LIST": _of_popped(list),
    "FROZENSET": _of_popped(lambda items: Opaque()),
    "DICT": _dictionary,
    "APPEND": _append,
    "APPENDS": _appends,
    "ADDITEMS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_with_keywords,
    "OBJ": _object,
    "INST": _instance,
    "BUILD": _build,
    "EXT1": _extension,
    "EXT2": _extension,
    "EXT4": _extension,
    "PERSID": lambda reader, argument: reader.persistent(argument),
    "BINPERSID": lambda reader, _: reader.persistent(reader.stack.pop()),
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "PUT": _memoize,
    "BINPUT": _memoize,
    "LONG_BINPUT": _memoize,
    "MEMOIZE": _memoize,
    "NEXT_BUFFER": _pushing(Opaque),
    "READONLY_BUFFER": _nothing,
}
