"""The files of installed distributions, as their own environment sees them; runs in a worker."""

import importlib.util
import os
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor

from parity.execution.case import Library

_MADE = (".pyc", ".pyo")
"""What the interpreter makes of the files: it follows from them."""


def answer(request: Mapping[str, Any], inputs: Mapping[str, Tensor], library: Library) -> dict[str, Any]:
    """List files.

    Args:
        request: `distributions`, by name.
        inputs: nothing.
        library: the reference; not asked.

    Returns:
        `files`, their sorted paths, for each distribution by name; an empty list where it cannot be told.
    """
    return {"status": "ok", "files": {name: sorted(set(_files(name))) for name in request["distributions"]}}


def _files(name: str) -> Iterator[str]:
    """What the installer wrote, and all that lies beside it in the packages' folders now."""
    distribution = metadata.distribution(name)
    listed = distribution.files or []
    packages = set((distribution.read_text("top_level.txt") or "").split())
    packages |= {file.parts[0] for file in listed if file.suffix == ".py" and len(file.parts) > 1}
    for file in listed:
        place = Path(str(distribution.locate_file(file)))
        if place.suffix not in _MADE and place.is_file():
            yield os.path.normpath(place)
    for package in packages:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            for root, _, names in os.walk(folder):
                yield from (os.path.join(root, each) for each in names if not each.endswith(_MADE))
