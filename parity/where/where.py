"""Where a name is defined, which cases and goldens pin it, and which tests mention it."""

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from parity.cases import all_cases
from parity.errors import UsageError
from parity.execution.case import Case
from parity.package import ROOT

_PACKAGES = ("samblocks", "samblocks.blocks", "samblocks.models", "samblocks.models.tiny_vit.blocks")


@dataclass(frozen=True)
class Place:
    """A line of a file; the file as a path from some root, with forward slashes."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Subject:
    """What a name stands for.

    Attributes:
        name: the class or function.
        member: it.
        cases: those about it, or the one that was asked for by its id.
    """

    name: str
    member: Callable[..., Any]
    cases: tuple[Case, ...]

    @property
    def place(self) -> Place:
        """Where it is defined."""
        file, (lines, first) = inspect.getsourcefile(self.member), inspect.getsourcelines(self.member)
        decorators = next(n for n, line in enumerate(lines) if line.lstrip().startswith(("class ", "def ")))
        return Place(_relative(Path(file or ""), None), first + decorators)

    @property
    def summary(self) -> str:
        """The first paragraph of its docstring, on one line."""
        return " ".join((inspect.getdoc(self.member) or "").partition("\n\n")[0].split())

    @property
    def upstream(self) -> tuple[str, ...]:
        """What its docstring says that it is a counterpart of."""
        doc = inspect.getdoc(self.member) or inspect.getdoc(inspect.getmodule(self.member)) or ""
        return tuple(
            " ".join(text.split())
            for text in re.findall(r"^(?:Upstream|Paper):\s*(.+(?:\n\s+.+)*)", doc, re.MULTILINE)
        )


def find(name: str) -> Subject:
    """What a name stands for: a block, model or function, or a case by its id.

    Raises:
        UsageError: when there is no such name; the nearest ones are named.
    """
    members = _members()
    if name in all_cases():
        case = all_cases()[name]
        if case.block in members:
            return Subject(case.block, members[case.block], (case,))
    if name not in members:
        known = [*members, *(all_cases() if "/" in name else ())]
        folded = {entry.lower(): entry for entry in reversed(known)}
        close = [folded[entry] for entry in difflib.get_close_matches(name.lower(), folded, 3, 0.7)]
        hint = f"did you mean {' or '.join(close)}?" if close else "`parity cases` lists what there is"
        raise UsageError(f"nothing is called {name!r}; {hint}")
    return Subject(name, members[name], tuple(case for case in all_cases().values() if case.block == name))


@cache
def _members() -> dict[str, Callable[..., Any]]:
    """Public classes and functions by name; a name that two files have is that of the first package."""
    found: dict[str, Callable[..., Any]] = {}
    for package in map(import_module, _PACKAGES):
        for name in _public(package):
            member = getattr(package, name)
            if inspect.isclass(member) or inspect.isfunction(member):
                found.setdefault(name, member)
    return found


def _public(module: ModuleType) -> list[str]:
    names = getattr(module, "__all__", None)
    if names is not None:
        return list(names)
    return [
        name
        for name, member in vars(module).items()
        if not name.startswith("_") and getattr(member, "__module__", "") == module.__name__
    ]


def location(case_id: str, root: Path | None = None) -> Place | None:
    """Where a case is written down, from `root` (the current folder by default); None for unknown cases.

    A case that a loop or a helper makes is found by its name, else by its block, else by its file.
    """
    case = all_cases().get(case_id)
    if case is None:
        return None
    for module in _case_modules():
        if case in module.CASES:
            file = Path(module.__file__ or "")
            return Place(_relative(file, root or Path.cwd()), _line_of(case, file))
    return None


def _case_modules() -> Iterator[Any]:
    from parity import cases

    for member in vars(cases).values():
        if isinstance(member, ModuleType) and hasattr(member, "CASES"):
            yield member


def _line_of(case: Case, file: Path) -> int:
    by_name, by_block = 0, 0
    for node, strings in _calls(file):
        if case.name in strings and case.block in strings:
            return node
        if case.name in strings:
            by_name = by_name or node
        if case.block in strings:
            by_block = by_block or node
    return by_name or by_block or 1


@cache
def _calls(file: Path) -> tuple[tuple[int, frozenset[str]], ...]:
    """Every call in a file: its line, and the texts that are its own arguments."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return tuple(
        (
            node.lineno,
            frozenset(
                argument.value
                for argument in (*node.args, *(keyword.value for keyword in node.keywords))
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            ),
        )
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    )


def goldens_of(cases: Sequence[Case]) -> Iterator[str]:
    """For each reference that has goldens of the cases: the folder, how many, and what they were recorded from."""
    from parity.run.goldens import GoldenError, path_of, read
    from parity.workers.registry import REFERENCES

    for reference in REFERENCES:
        files = [file for case in cases if (file := path_of(case, reference)).exists()]
        origins: dict[str, None] = {}
        for file in files:
            try:
                packages = read(file).provenance["packages"]
                origins[", ".join(f"{name} {version}" for name, version in packages.items())] = None
            except GoldenError as damage:
                origins[str(damage)] = None
        if files:
            what = files[0] if len(cases) == 1 else files[0].parent
            yield f"{_relative(what, None)}: {len(files)} of {len(cases)} cases, from {'; '.join(origins)}"


def tests_of(name: str) -> list[Place]:
    """Where tests first mention a name, one place for each file; none where tests are not installed."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    places = []
    if not (ROOT / "pyproject.toml").exists():  # installed: another package may have left a folder `tests`
        return []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if word.search(line) and not line.lstrip().startswith(("import ", "from ")):
                places.append(Place(_relative(file, None), number))
                break
    return places


def _relative(file: Path, root: Path | None) -> str:
    for base in filter(None, (root, ROOT)):
        if file.is_relative_to(base):
            return file.relative_to(base).as_posix()
    return file.as_posix()
