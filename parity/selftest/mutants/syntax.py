"""Find one node of a file's syntax by its source, and put another in its place."""

import ast
import difflib
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

MODULE = "<module>"
"""Where to look for what stands outside all functions and classes."""

_Definition = ast.ClassDef | ast.FunctionDef


class Absent(ValueError):
    """A node that is not there, or more than once; the words follow the name of a file."""


@dataclass(frozen=True)
class Place:
    """Where a node is held: in a field of its parent, or in a list that is one.

    Attributes:
        parent: the node that holds it.
        field: in this field.
        node: the node itself.
        argument: its name, where it is a keyword of a call or a default of a signature.
    """

    parent: ast.AST
    field: str
    node: ast.expr | ast.stmt | ast.keyword
    argument: str = ""

    @property
    def position(self) -> tuple[int, int]:
        """Line and column."""
        return self.node.lineno, self.node.col_offset

    @property
    def source(self) -> str:
        """Its normalized source."""
        value = self.node.value if isinstance(self.node, ast.keyword) else self.node
        return f"{self.argument} = {ast.unparse(value)}" if self.argument else ast.unparse(self.node)


def find(tree: ast.Module, where: str, source: str, number: int = 1, among: int = 1) -> Place:
    """The place of a node in a function, or in the bare body of a class or module.

    Args:
        tree: the file.
        where: `Class.method`, `function`, `Class` or `<module>`.
        source: an expression, an argument as `name=value`, or a statement.
        number: which one, counted from 1 in the order of the text.
        among: how often it must stand there.

    Raises:
        Absent: there is no such function, or the node is not as often in it as it must be.
    """
    [statement] = ast.parse(source).body
    wanted = ast.unparse(statement.value if isinstance(statement, ast.Expr) else statement)
    places = list(_places(_scope(tree, where)))
    found = sorted((place for place in places if place.source == wanted), key=lambda place: place.position)
    if len(found) == among:
        return found[number - 1]
    if found:
        lines = ", ".join(str(place.position[0]) for place in found)
        raise Absent(f"holds `{source}` {len(found)} times in {where}, not {among}: lines {lines}")
    near = difflib.get_close_matches(wanted, [place.source for place in places], n=1, cutoff=0.0)
    nearest = f"; the nearest is `{textwrap.shorten(near[0], 100)}`" if near else ""
    raise Absent(f"holds no `{source}` in {where}{nearest}")


def substitute(place: Place, source: str) -> None:
    """Put what a source says in a place; an empty one takes the statement or the argument there away.

    Raises:
        SyntaxError: the source is no such thing as stands there.
    """
    new = _parsed(place, source)
    for node in (inner for outer in new for inner in ast.walk(outer)):
        ast.copy_location(node, place.node)
    held = getattr(place.parent, place.field)
    if not isinstance(held, list):
        setattr(place.parent, place.field, new[0])
        return
    at = next(index for index, node in enumerate(held) if node is place.node)
    held[at : at + 1] = new
    if not held and isinstance(place.node, ast.stmt):
        held.append(ast.copy_location(ast.Pass(), place.node))


def _parsed(place: Place, source: str) -> list[ast.AST]:
    """The nodes that replace the one of a place."""
    if isinstance(place.node, ast.stmt):
        return list(ast.parse(source).body)
    positional = isinstance(place.parent, ast.Call) and place.field == "args"
    if not (positional or place.argument):
        return [ast.parse(source, mode="eval").body]
    call = ast.parse(f"_({source})", mode="eval").body
    assert isinstance(call, ast.Call)
    if call.keywords if positional else call.args:
        raise SyntaxError(
            f"`{source}` takes the place of {'a positional' if positional else 'a named'} argument"
        )
    if positional:
        return list(call.args)
    if isinstance(place.node, ast.keyword):
        return list(call.keywords)
    [default] = call.keywords
    return [default.value]


def _scope(tree: ast.Module, where: str) -> ast.AST:
    """The module, class or function that a qualified name means."""
    if where == MODULE:
        return tree
    named = list(_definitions(tree))
    found = [node for name, node in named if name == where]
    if len(found) == 1:
        return found[0]
    if found:
        raise Absent(f"defines {where} {len(found)} times; it must be once")
    near = difflib.get_close_matches(where, [name for name, _ in named], n=1, cutoff=0.0)
    raise Absent(f"defines no {where}" + (f"; the nearest is {near[0]}" if near else ""))


def _definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, _Definition]]:
    """All functions and classes below a node, by qualified name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            yield f"{prefix}{child.name}", child
            yield from _definitions(child, f"{prefix}{child.name}.")
        else:
            yield from _definitions(child, prefix)


def _places(scope: ast.AST) -> Iterator[Place]:
    """The places of all statements, arguments and values in a scope, outermost first."""
    whole = isinstance(scope, ast.FunctionDef)
    waiting = [scope]
    while waiting:
        parent = waiting.pop(0)
        if isinstance(parent, ast.arguments):
            yield from _defaults(parent)
        for field, value in ast.iter_fields(parent):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, _Definition) and not whole:
                    continue
                if isinstance(child, ast.keyword) and child.arg:
                    yield Place(parent, field, child, child.arg)
                elif isinstance(child, ast.stmt) or (isinstance(child, ast.expr) and _is_read(child, parent)):
                    yield Place(parent, field, child)
                if isinstance(child, ast.AST):
                    waiting.append(child)


def _is_read(value: ast.expr, parent: ast.AST) -> bool:
    """Whether an expression is read, not assigned to, and is not all of a statement, which is a place itself."""
    return isinstance(getattr(value, "ctx", None), ast.Load | None) and not isinstance(parent, ast.Expr)


def _defaults(signature: ast.arguments) -> Iterator[Place]:
    named = signature.posonlyargs + signature.args
    for parameter, default in zip(reversed(named), reversed(signature.defaults), strict=False):
        yield Place(signature, "defaults", default, parameter.arg)
    for parameter, given in zip(signature.kwonlyargs, signature.kw_defaults, strict=True):
        if given is not None:
            yield Place(signature, "kw_defaults", given, parameter.arg)
