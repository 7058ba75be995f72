"""Models with the class names of other libraries, for all tests of this folder."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from samblocks.ops.fast_path import plain_paths

for name in ("fake_hosts", "fake_transformers"):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)


@pytest.fixture(autouse=True)
def plain() -> Iterator[None]:
    """Results keep their bits where no fast path is taken, so that the least mix-up shows."""
    with plain_paths():
        yield
