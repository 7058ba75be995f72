"""A references' environment of our own making, so that the harness is tried without upstream packages."""

import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from parity.workers.registry import Reference

MODULE = """
import torch
from torch import nn

class MLPBlock(nn.Module):
    def __init__(self, embedding_dim, mlp_dim, act=nn.GELU):
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x):
        return self.lin2(self.act(self.lin1(x)))
"""

_ADAPTER = """
import upstream
from parity.execution.case import NoCounterpart

class Library:
    name = "upstream"

    def construct(self, block, kwargs):
        if not hasattr(upstream, block):
            raise NoCounterpart(f"upstream has no {block}")
        return getattr(upstream, block)(**kwargs)

    def function(self, name):
        raise NoCounterpart(name)

    def model(self, variant, image_size, options):
        raise NoCounterpart(variant)

    def canonical(self, name):
        return name

library = Library
"""


@dataclass(frozen=True)
class Upstream:
    """An installed package that stands in for an upstream one.

    Attributes:
        folder: the environment that it is installed in.
        python: that environment's interpreter.
        module: the file with its code.
        reference: how the harness knows it.
    """

    folder: Path
    python: Path
    module: Path
    reference: Reference

    @property
    def program(self) -> str:
        """Python code that is the command line of parity with this as the only reference."""
        return (
            "import sys; from parity.workers.registry import REFERENCES, Reference; REFERENCES.clear();"
            f"REFERENCES['upstream'] = {self.reference!r};"
            "from parity.__main__ import main; sys.exit(main(sys.argv[1:]))"
        )


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    """A virtual environment of this interpreter's with one package in it, as an installer leaves it."""
    folder = tmp_path / "environment"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    package, record = site / "upstream", site / "upstream-1.0.dist-info"
    for made in (folder / "bin", package, record):
        made.mkdir(parents=True)
    base = Path(getattr(sys, "_base_executable", sys.executable))
    (folder / "pyvenv.cfg").write_text(f"home = {base.parent}\ninclude-system-site-packages = false\n")
    python = folder / "bin" / "python"
    python.symlink_to(base)
    (site / "torch_is_there.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (package / "__init__.py").write_text(MODULE)
    (package / "adapter.py").write_text(_ADAPTER)
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: upstream\nVersion: 1.0\n")
    files = ("upstream/__init__.py", "upstream/adapter.py", "upstream-1.0.dist-info/METADATA")
    (record / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    reference = Reference("upstream", "upstream.adapter", ("upstream",))
    return Upstream(folder, python, package / "__init__.py", reference)


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Whether a process runs: one that has ended, but that nobody has asked for yet, does not."""

    def look(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return look


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go, so that a test can see whether one is left."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder
