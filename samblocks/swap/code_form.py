"""The form of a function's syntax by which it is compared: what it does, not how it is written.

Names of local variables become numbers, docstrings, annotations and messages of errors go, and what all versions of
Python say alike is left.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any


class SourceMissing(Exception):
    """The source of a function cannot be read, or is not what was compiled."""


class Module:
    """The functions of a file by name and line, and what its names are bound to."""

    def __init__(self, source: str) -> None:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            raise SourceMissing(f"a source cannot be parsed: {error}") from error
        self.functions: dict[tuple[str, int], ast.AST] = {}
        self.imports: dict[str, str] = {}
        self.values: dict[str, list[ast.stmt]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = [node.lineno, *(one.lineno for one in node.decorator_list)]
                self.functions[node.name, min(lines)] = node
            elif isinstance(node, ast.Lambda):
                self.functions["<lambda>", node.lineno] = node
        for statement in _top_level(tree.body):
            self._bind(statement)

    def _bind(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                self.imports[alias.asname or alias.name.partition(".")[0]] = alias.name
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                self.imports[alias.asname or alias.name] = f"{statement.module or ''}.{alias.name}"
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                for node in ast.walk(target):
                    if isinstance(node, ast.Name):
                        self.values.setdefault(node.id, []).append(statement)


def within(name: str, prefix: str) -> bool:
    """Whether a module is one of a package, or the package itself."""
    return name == prefix or name.startswith(f"{prefix}.")


@lru_cache(maxsize=64)
def parsed(path: str, source: str) -> Module:
    """A file, read once.

    Raises:
        SourceMissing: it is no Python.
    """
    return Module(source)


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a file, those under `if` and `try` included."""
    for statement in body:
        yield statement
        for name in ("body", "orelse", "finalbody"):
            if isinstance(statement, ast.If | ast.Try):
                yield from _top_level(getattr(statement, name, []))
        for handler in getattr(statement, "handlers", ()):
            yield from _top_level(handler.body)


_UNCOUNTED = frozenset(("ctx", "type_comment", "kind", "type_params", "annotation", "returns"))


class Form:
    """The form of one function: nested lists of words.

    Args:
        digest: gives the digest of a function that is called.
        library: how the modules begin whose functions count.
        names: what the function's free names are bound to.
        module: what its file says about them.
    """

    def __init__(
        self, digest: Callable[[Any], str], library: str, names: Mapping[str, Any], module: Module
    ) -> None:
        self._digest, self._library, self._names, self._module = digest, library, names, module
        self._scopes: list[dict[str, str]] = []
        self._count = 0
        self._values: set[str] = set()

    def function(self, node: Any, *, outermost: bool = False) -> object:
        """The form of a function or a lambda; names of the outermost's arguments count, callers may use them."""
        arguments = node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        given += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
        body = node.body if isinstance(node.body, list) else [node.body]
        outside = [self.form(one) for one in getattr(node, "decorator_list", ())]
        defaults = [self.form(one) for one in (*arguments.defaults, *arguments.kw_defaults)]
        scope = {one.arg: f"={one.arg}" if outermost else "" for one in given}
        scope |= dict.fromkeys(_stored(body) - set(scope), "")
        for name in _declared(body):
            scope.pop(name, None)
        self._scopes.append(scope)
        kinds = [
            [self._local(one.arg) for one in part]
            for part in (arguments.posonlyargs, arguments.args, arguments.kwonlyargs)
        ]
        rest = [one and self._local(one.arg) for one in (arguments.vararg, arguments.kwarg)]
        form = [type(node).__name__, outside, kinds, rest, defaults, self._body(body)]
        self._scopes.pop()
        return form

    def form(self, node: Any) -> object:
        """The form of any syntax."""
        if not isinstance(node, ast.AST):
            return [self.form(one) for one in node] if isinstance(node, list) else repr(node)
        special = getattr(self, f"_{type(node).__name__.lower()}", None)
        if special is not None:
            return special(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return [self._local(node.name), self.function(node)]
        if isinstance(node, ast.Lambda):
            return self.function(node)
        fields = []
        for name, value in ast.iter_fields(node):
            if name in _UNCOUNTED or value is None or value == []:
                continue
            inside = name in ("body", "orelse", "finalbody") and isinstance(value, list)
            fields.append((name, self._body(value) if inside else self.form(value)))
        return [type(node).__name__, fields]

    def _body(self, statements: list[Any]) -> list[object]:
        return [self.form(one) for one in statements if not _says_nothing(one)]

    def _local(self, name: str) -> str:
        for scope in reversed(self._scopes):
            if name in scope:
                if not scope[name]:
                    self._count += 1
                    scope[name] = f"#{self._count}"
                return scope[name]
        return f"free {name}"

    def _name(self, node: ast.Name) -> object:
        local = self._local(node.id)
        return local if not local.startswith("free ") else self._free(node.id)

    def _arg(self, node: ast.arg) -> object:
        return self._local(node.arg)

    def _attribute(self, node: ast.Attribute) -> object:
        """What a module of the same library holds is followed."""
        base = node.value
        if isinstance(base, ast.Name) and self._local(base.id).startswith("free "):
            module = self._names.get(base.id)
            if isinstance(module, ModuleType) and within(module.__name__, self._library):
                return self._value(f"{base.id}.{node.attr}", getattr(module, node.attr, None))
        return ["Attribute", self.form(base), node.attr]

    def _constant(self, node: ast.Constant) -> object:
        return f"{type(node.value).__name__} {node.value!r}"

    def _joinedstr(self, node: ast.JoinedStr) -> object:
        parts: list[object] = [""]
        for part in node.values:
            if not isinstance(part, ast.Constant):
                parts += [self.form(part), ""]  # Python 3.12 has such empty words, others do not
            elif isinstance(parts[-1], str):
                parts[-1] += str(part.value)
        return ["JoinedStr", parts]

    def _annassign(self, node: ast.AnnAssign) -> object:
        return ["Assign", [("targets", [self.form(node.target)]), ("value", self.form(node.value))]]

    def _assert(self, node: ast.Assert) -> object:
        return ["Assert", self.form(node.test)]

    def _raise(self, node: ast.Raise) -> object:
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ["Raise", self.form(kind) if kind is not None else ""]

    def _import(self, node: ast.Import) -> object:
        return [
            "Import",
            [(one.name, self._local(one.asname or one.name.partition(".")[0])) for one in node.names],
        ]

    def _importfrom(self, node: ast.ImportFrom) -> object:
        names = [(one.name, self._local(one.asname or one.name)) for one in node.names]
        return ["ImportFrom", node.level, node.module or "", names]

    def _free(self, name: str) -> object:
        if name in self._names:
            return self._value(name, self._names[name])
        return f"builtin {name}" if hasattr(builtins, name) else f"unbound {name}"

    def _value(self, name: str, value: Any) -> object:
        """What a free name stands for: followed in the library, else as it was imported or assigned."""
        inner = inspect.unwrap(value) if callable(value) else value
        if isinstance(inner, FunctionType):
            if within(inner.__module__ or "", self._library):
                return ["function", self._digest(value)]
            if name not in self._module.imports:
                return f"function {inner.__module__}.{inner.__qualname__}"
        if isinstance(value, type) and within(value.__module__, self._library):
            return f"class {value.__qualname__}"
        if name in self._module.imports:
            path = self._module.imports[name]
            if isinstance(value, ModuleType) and sys.modules.get(path, value) is not value:
                return f"{path} replaced by {value.__name__}"
            return f"import {path}"
        if name in self._module.values:
            if name in self._values:
                return "itself"
            self._values.add(name)
            scopes, self._scopes = self._scopes, []
            form = [self._assigned(one) for one in self._module.values[name]]
            self._scopes = scopes
            self._values.discard(name)
            return ["value", form]
        return f"{type(value).__module__}.{type(value).__qualname__}"

    def _assigned(self, statement: Any) -> object:
        """The value alone: what is bound to has a name that does not count."""
        return [type(statement).__name__, "" if statement.value is None else self.form(statement.value)]


def _says_nothing(statement: Any) -> bool:
    if isinstance(statement, ast.AnnAssign):
        return statement.value is None
    constant = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(statement, ast.Pass) or (
        isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    )


def _own(body: list[Any]) -> Iterator[ast.AST]:
    """The syntax of a function without that of functions in it."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _own(list(ast.iter_child_nodes(node)))


def _stored(body: list[Any]) -> set[str]:
    """Names that a function binds."""
    names = set()
    for node in _own(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ExceptHandler):
            names.add(node.name or "")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {one.asname or one.name.partition(".")[0] for one in node.names}
    return names


def _declared(body: list[Any]) -> set[str]:
    """Names that a function says are of another scope."""
    return {name for node in _own(body) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
