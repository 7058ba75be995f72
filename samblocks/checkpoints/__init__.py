"""Checkpoint files: found, verified, read safely, explained, loaded, converted and written.

| file | what it is for |
|---|---|
| `reading` | a file's tensors by name, mapped into memory, nothing ever run |
| `writing` | a file tensor by tensor, put in its place when it is whole |
| `load`, `save` | a file to a model and back |
| `convert` | one layout to another |
| `inspect`, `report` | what a file is and what would become of each tensor |
| `resize` | named policies for other image sizes and memory lengths |
| `published` | the public files: where they are, what their bytes must be |
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samblocks.checkpoints.conversion_plan import Conversion
    from samblocks.checkpoints.convert import convert, convert_file
    from samblocks.checkpoints.inspect import inspect
    from samblocks.checkpoints.load import load
    from samblocks.checkpoints.report import LoadReport
    from samblocks.checkpoints.save import save

_HOMES = {
    "Conversion": "conversion_plan",
    "LoadReport": "report",
    "convert": "convert",
    "convert_file": "convert",
    "inspect": "inspect",
    "load": "load",
    "save": "save",
}

__all__ = ["Conversion", "LoadReport", "convert", "convert_file", "inspect", "load", "save"]


class _Lazy(ModuleType):
    """Imports a name when it is first used, so that what needs no torch, such as `lock`, does not wait for it."""

    def __getattr__(self, name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __setattr__(self, name: str, value: object) -> None:
        # Importing a module binds it in its package, where `load` and others mean the function of that name.
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Lazy
