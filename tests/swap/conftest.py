"""Models with the class names of other libraries, for all tests of this folder."""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from samblocks.ops.fast_path import plain_paths
from samblocks.swap import known_code
from samblocks.swap.catalog import qualified
from samblocks.swap.code_digest import class_digest

for name in ("fake_hosts", "fake_transformers"):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)


class Proven(Mapping):
    """The code of the stand-ins counts as proven, as it is when it is asked for."""

    def __getitem__(self, name):
        kinds = [kind for kind in sys.modules["fake_hosts"].HOSTED if qualified(kind) == name]
        if not kinds:
            raise KeyError(name)
        return {class_digest(kind): ["1.0"] for kind in kinds}

    def __iter__(self):
        return iter({qualified(kind) for kind in sys.modules["fake_hosts"].HOSTED})

    def __len__(self):
        return len(set(self))


@pytest.fixture(autouse=True)
def proven(monkeypatch):
    """Stand-ins are swapped, though their code is none of a library's."""
    monkeypatch.setattr(known_code, "known", Proven)


@pytest.fixture(autouse=True)
def plain() -> Iterator[None]:
    """Results keep their bits where no fast path is taken, so that the least mix-up shows."""
    with plain_paths():
        yield
