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
    KNOWN,
    REBUILD,
    Global,
    Opaque,
    PickleRefused,
    StorageRef,
    from_pairs,
    put,
    rebuild,
)

MOST_STEPS: Final = 500_000
"""A training checkpoint of the largest model takes about 100,000; the limit is reached in half a second."""


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

    def run(self) -> Unpickled:
        stream = io.BytesIO(self.data)
        try:
            for name, argument in _operations(stream):
                self.charge(1)
                if name == "STOP":
                    return Unpickled(self.stack.pop(), tuple(self.refused), self.storages, stream.tell())
                if name in _PUSHES_ARGUMENT:
                    self.stack.append(argument)
                else:
                    _HANDLERS[name](self, argument)
        except PickleRefused:
            raise
        except KeyError as error:
            raise PickleRefused(f"its pickle uses {error.args[0]!r}, which nothing defined") from None
        except (ValueError, IndexError, TypeError, AttributeError, UnicodeError, OverflowError, MemoryError):
            raise PickleRefused("its pickle is damaged") from None
        raise PickleRefused("its pickle has no end")

    def charge(self, steps: int) -> None:
        """Count work done, so that a pickle built to repeat itself ends soon."""
        self.steps += steps
        if self.steps > MOST_STEPS:
            raise PickleRefused(f"its pickle has more than {MOST_STEPS:,} instructions")

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def popped(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def find(self, module: Any, name: Any) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleRefused("its pickle names a global by something that is no text")
        found = Global(f"{_OLD_MODULES.get(module, module)}.{name}")
        if found.name not in KNOWN:
            self.refused[f"{module}.{name}"] = None
        return found

    def call(self, function: Any, arguments: Any) -> object:
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            return Opaque()
        if function.name in CONTAINERS:
            self.charge(sum(len(part) for part in arguments[:1] if isinstance(part, list | tuple)))
            return from_pairs(arguments)
        if function.name in REBUILD:
            return rebuild(function, arguments)
        if function.name == "torch.Size" and arguments and isinstance(arguments[0], tuple):
            return arguments[0]
        return Opaque()

    def set_items(self, target: Any, items: list[Any]) -> None:
        if len(items) % 2:
            raise ValueError
        if not isinstance(target, dict):
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            put(target, key, value)

    def persistent(self, name: Any) -> None:
        match name:
            case ("storage", Global(name=dtype), str(key), _, int(count), *rest):
                if any(part is not None for part in rest):
                    raise PickleRefused("it stores views of storages the way PyTorch 0.3 did")
                storage = StorageRef(key, dtype, count)
                if self.storages.setdefault(key, storage) != storage:
                    raise PickleRefused(f"it gives its storage {key[:40]!r} two types or sizes")
                self.stack.append(storage)
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
    return lambda reader, _: reader.stack.append(make())


def _tupling(count: int) -> Callable[[_Reader, Any], None]:
    def handler(reader: _Reader, _: Any) -> None:
        if len(reader.stack) < count:
            raise IndexError
        reader.stack[-count:] = [tuple(reader.stack[-count:])]

    return handler


def _of_popped(make: Callable[[list[Any]], Any]) -> Callable[[_Reader, Any], None]:
    def handler(reader: _Reader, _: Any) -> None:
        made = make(reader.popped())
        reader.stack.append(made)

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
    if isinstance(reader.stack[-1], list):
        reader.stack[-1].append(value)


def _appends(reader: _Reader, _: Any) -> None:
    items = reader.popped()
    if isinstance(reader.stack[-1], list):
        reader.stack[-1].extend(items)


def _set_item(reader: _Reader, _: Any) -> None:
    value, key = reader.stack.pop(), reader.stack.pop()
    reader.set_items(reader.stack[-1], [key, value])


def _set_items(reader: _Reader, _: Any) -> None:
    items = reader.popped()
    reader.set_items(reader.stack[-1], items)


def _dictionary(reader: _Reader, _: Any) -> None:
    items, made = reader.popped(), dict[Any, Any]()
    reader.set_items(made, items)
    reader.stack.append(made)


def _global(reader: _Reader, argument: Any) -> None:
    module, _, name = argument.partition(" ")
    reader.stack.append(reader.find(module, name))


def _stack_global(reader: _Reader, _: Any) -> None:
    name, module = reader.stack.pop(), reader.stack.pop()
    reader.stack.append(reader.find(module, name))


def _reduce(reader: _Reader, _: Any) -> None:
    arguments, function = reader.stack.pop(), reader.stack.pop()
    reader.stack.append(reader.call(function, arguments))


def _new_with_keywords(reader: _Reader, _: Any) -> None:
    reader.stack.pop()
    _reduce(reader, None)


def _object(reader: _Reader, _: Any) -> None:
    function, *arguments = reader.popped()
    reader.stack.append(reader.call(function, tuple(arguments)))


def _instance(reader: _Reader, argument: Any) -> None:
    arguments = tuple(reader.popped())
    module, _, name = argument.partition(" ")
    reader.stack.append(reader.call(reader.find(module, name), arguments))


def _build(reader: _Reader, _: Any) -> None:
    reader.stack.pop()  # attributes, such as a state dict's _metadata: no tensor depends on them
    reader.stack[-1]


def _extension(reader: _Reader, argument: Any) -> None:
    reader.stack.append(reader.find("copyreg", f"extension_{argument}"))


def _get(reader: _Reader, argument: Any) -> None:
    reader.stack.append(reader.memo[int(argument)])


def _memoize(reader: _Reader, argument: Any) -> None:
    reader.memo[len(reader.memo) if argument is None else int(argument)] = reader.stack[-1]


def _nothing(reader: _Reader, _: Any) -> None:
    """PROTO and FRAME: bookkeeping of the stream."""


_HANDLERS: Final[dict[str, Callable[[_Reader, Any], None]]] = {
    "PROTO": _nothing,
    "FRAME": _nothing,
    "MARK": _Reader.mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda reader, _: reader.stack.append(reader.stack[-1]),
    "NONE": _pushing(lambda: None),
    "NEWTRUE": _pushing(lambda: True),
    "NEWFALSE": _pushing(lambda: False),
    "EMPTY_LIST": _pushing(list),
    "EMPTY_DICT": _pushing(dict),
    "EMPTY_TUPLE": _pushing(tuple),
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
