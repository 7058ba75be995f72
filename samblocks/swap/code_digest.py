"""A digest of what a class of another library does, from its source: so that a fork is not taken for the original.

It covers every method of the class and of its bases in the same library, and the functions of that library that they
call. What the code does not do by does not count: names of local variables, docstrings, annotations, messages of
errors, formatting. The syntax tree is what is digested, in a form that all versions of Python share; no library is
imported, and nothing is run.
"""

from __future__ import annotations

import ast
import hashlib
import linecache
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from samblocks.swap.code_form import Form, Module, SourceMissing, parsed, within

_NOT_CODE = frozenset(
    (
        *(
            "__module__",
            "__qualname__",
            "__doc__",
            "__dict__",
            "__weakref__",
            "__hash__",
            "__abstractmethods__",
        ),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "_abc_impl"),
        *("__static_attributes__", "__firstlineno__", "__parameters__", "__orig_bases__"),
    )
)


def class_digest(kind: type) -> str:
    """The digest of a class.

    Args:
        kind: the class.

    Returns:
        32 hexadecimal digits.

    Raises:
        SourceMissing: a method of it has no source.
    """
    reader = _Reader(_followed(kind))
    return _hashed(list(reader.steps(kind)))


def _followed(kind: type) -> str:
    """How modules begin that count as the class's own library: of transformers only the models do."""
    first, _, rest = kind.__module__.partition(".")
    return f"{first}.models" if first == "transformers" and rest.startswith("models") else first


def _hashed(form: object) -> str:
    return hashlib.sha256(repr(form).encode()).hexdigest()[:32]


class _Reader:
    """Forms of functions of one library, those that they call included."""

    def __init__(self, library: str) -> None:
        self.library = library
        self._known: dict[int, str] = {}
        self._open: set[int] = set()

    def steps(self, kind: type) -> Iterator[object]:
        """The class and its bases."""
        for step in kind.__mro__:
            if step is object:
                continue
            if not within(step.__module__, self.library):
                yield "base", f"{step.__module__}.{step.__qualname__}"
                if step is not kind:
                    return  # what follows is that library's own
                continue
            for name in sorted(set(vars(step)) - _NOT_CODE):
                found = self._member(name, vars(step)[name])
                if found is not None:
                    yield name, found

    def _member(self, name: str, member: Any) -> object | None:
        if isinstance(member, property):
            parts = (member.fget, member.fset, member.fdel)
            return ["property", *(self.function(part) for part in parts if part is not None)]
        if isinstance(member, staticmethod | classmethod):
            return type(member).__name__, self.function(member.__func__)
        if isinstance(member, FunctionType):
            return self.function(member)
        # Numbers and words that methods may read; what begins with an underscore is for frameworks.
        return None if name.startswith("_") or not _is_plain(member) else repr(member)

    def function(self, function: Any) -> str:
        """The digest of a function; of one that calls itself, while it is being made, its place in that."""
        chain = [function]
        while hasattr(chain[-1], "__wrapped__"):
            chain.append(chain[-1].__wrapped__)
        inner = chain[-1]
        if not isinstance(inner, FunctionType):
            return f"{type(inner).__module__}.{type(inner).__qualname__}"
        key = id(inner)
        if key in self._open:
            return "itself"
        if key not in self._known:
            self._open.add(key)
            node, tree = _found(inner)
            form = Form(self.function, self.library, inner.__globals__, tree).function(node, outermost=True)
            self._open.discard(key)
            self._known[key] = _hashed(form)
        # Decorators stand in the source. What was wrapped around it later, by others, counts as code.
        own = {inner.__globals__.get("__name__", ""), self.library.partition(".")[0]}
        wrappers = [
            one
            for one in chain[:-1]
            if isinstance(one, FunctionType)
            and one.__globals__.get("__name__", "").partition(".")[0] not in own
            and not getattr(_found(inner)[0], "decorator_list", ())
        ]
        if not wrappers:
            return self._known[key]
        names = [f"{one.__globals__.get('__name__')}.{one.__code__.co_name}" for one in wrappers]
        return _hashed([self._known[key], *names])


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _found(function: FunctionType) -> tuple[ast.AST, Module]:
    """A function's syntax, and what its file binds."""
    code = function.__code__
    module = parsed(code.co_filename, "".join(linecache.getlines(code.co_filename, function.__globals__)))
    name = code.co_name
    node = module.functions.get((name, code.co_firstlineno))
    if node is None:
        raise SourceMissing(f"the source of {function.__qualname__} cannot be read")
    return node, module
