"""Plant a bug: this process imports one module of samblocks from changed syntax; no file is touched."""

import ast
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType

from parity.package import ROOT
from parity.selftest.mutants.mutant import Mutant, StaleMutant

_SHARED = ("samblocks.errors", "samblocks.numerics")
"""What parity itself is built on: its classes stay the same objects, and no bug can be planted there."""


class _ChangedSource(SourceFileLoader):
    """Loads a module from changed syntax instead of its file, past all compiled files."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._tree, self.path, "exec", dont_inherit=True)


class _Planter(MetaPathFinder):
    """Answers for the one module that is changed."""

    def __init__(self, mutant: Mutant) -> None:
        self._module = mutant.module
        self._path = str(ROOT / mutant.file)
        self._tree = mutant.tree()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        loader = _ChangedSource(fullname, self._path, self._tree)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


def plant(mutant: Mutant) -> None:
    """From now on samblocks has this bug; to be called in a process of its own.

    Whatever of samblocks was imported before is forgotten, so that its modules meet the changed one; but for
    what parity itself is built on.

    Raises:
        StaleMutant: what is to be changed is not there, or in a module that parity itself is built on.
    """
    if _shared(mutant.module):
        raise StaleMutant(f"{mutant.id}: parity itself is built on {mutant.file}; plant no bug there")
    for name in [name for name in sys.modules if name.split(".")[0] == "samblocks" and not _shared(name)]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Planter(mutant))


def _shared(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in _SHARED)
