"""Which of our own files a reference's outputs of a case depend on, as their imports say."""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

from parity import cases, package
from parity.cases import fuzz
from parity.execution import execute

_OURS = ("parity", "samblocks.numerics")
"""What workers register."""


@cache
def digest(case_id: str, *adapters: str) -> str:
    """Hash of all files that a case's outputs rest on.

    Args:
        case_id: the case; for one that is in no file of `parity.cases` all of these are taken.
        adapters: modules with the references' `library()`.
    """
    start = [*_homes_of(case_id), Path(execute.__file__)]
    for adapter in filter(None, map(_file, adapters)):
        start += sorted(adapter.parent.glob("*.py"))  # they reach each other by name, too
    total = hashlib.sha256()
    for file in sorted(with_imports(start)):
        total.update(f"{file.relative_to(package.ROOT)}\0{_hash(file)}\n".encode())
    return total.hexdigest()


def with_imports(files: Iterable[Path]) -> set[Path]:
    """Files of ours, and those that they import, directly or through others."""
    seen: set[Path] = set()
    waiting = list(files)
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += _imported(current)
    return seen


def _homes_of(case_id: str) -> list[Path]:
    if fuzz.MARK in case_id:
        return [Path(fuzz.__file__)]
    home = _homes().get(case_id)
    return [home] if home is not None else sorted(Path(cases.__file__).parent.glob("*.py"))


@cache
def _homes() -> dict[str, Path]:
    """The file that each case is written in."""
    homes: dict[str, Path] = {}
    for file in sorted(Path(cases.__file__).parent.glob("[!_]*.py")):
        module = import_module(f"{cases.__name__}.{file.stem}")
        written = (*getattr(module, "CASES", ()), *getattr(module, "STAGES", {}).values())
        homes |= {case.id: file for case in written if case.id not in homes}
    return homes


@cache
def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _imported(file: Path) -> list[Path]:
    names = _imports(ast.parse(file.read_bytes()))
    return [found for name in names if name.startswith(_OURS) and (found := _file(name)) is not None]


def _imports(tree: ast.AST) -> Iterator[str]:
    """The modules that a file names: a package's members where they are modules, else the package itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            members = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (member if _file(member) is not None else node.module for member in members)


def _file(module: str) -> Path | None:
    """The file of a module of ours."""
    place = package.ROOT.joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)
