"""Plant a bug: this process imports one module of samblocks from changed text; no file is touched."""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType

from parity.package import ROOT
from parity.selftest.mutants.mutant import Mutant


class _ChangedSource(SourceFileLoader):
    """Loads a module from a text instead of its file, past all compiled files."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Planter(MetaPathFinder):
    """Answers for the one module that is changed."""

    def __init__(self, mutant: Mutant) -> None:
        self._module = mutant.module
        self._path = str(ROOT / mutant.file)
        self._source = mutant.source()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        loader = _ChangedSource(fullname, self._path, self._source)
        return importlib.util.spec_from_file_location(fullname, self._path, loader=loader)


def plant(mutant: Mutant) -> None:
    """From now on samblocks has this bug; to be called in a process of its own.

    Whatever of samblocks was imported before is forgotten, so that its modules meet the changed one.
    """
    for name in [name for name in sys.modules if name.split(".")[0] == "samblocks"]:
        del sys.modules[name]
    sys.meta_path.insert(0, _Planter(mutant))
