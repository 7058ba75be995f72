"""Whether a host's class is the code that was proven, whatever its name and version: forks keep the names.

`known_code.json` is written by `python -m parity swap --record-code`, which drives a library with our blocks inside
and writes its digests down when every result held.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from torch import nn

from samblocks.swap.catalog import CATALOG, qualified
from samblocks.swap.code_digest import class_digest
from samblocks.swap.code_form import SourceMissing

Trust = Literal["code", "names"]
"""What a class is known by: its code, or its name alone."""

PATH = Path(__file__).with_name("known_code.json")


@lru_cache(maxsize=1)
def known() -> Mapping[str, Mapping[str, list[str]]]:
    """The qualified name of a class → its digests → the versions that have it."""
    found: dict[str, dict[str, list[str]]] = json.loads(PATH.read_text())["classes"]
    return found


class CodeCheck:
    """Asks once for each class, for as long as one swap takes.

    Args:
        trust: what classes are known by.
    """

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._found: dict[type, str] = {}

    def unknown(self, module: nn.Module) -> str:
        """Why the code of a module's class, or of the one that it derives from, is not known; empty where it is."""
        if self._trust == "names":
            return ""
        kind = type(module)
        if kind not in self._found:
            self._found[kind] = _unknown(kind)
        return self._found[kind]


def _unknown(derived: type) -> str:
    proven = known()
    for kind in derived.__mro__:
        name = qualified(kind)
        if name in proven or name in CATALOG:
            break
    else:
        return ""
    digests = proven.get(name, {})
    try:
        if class_digest(kind) in digests:
            return ""
        what = f"its code is not that of {name} in {_versions(digests)}"
    except SourceMissing as error:
        what = f"its code is not known: {error}"
    return f'{what}; trust="names" swaps it by its name, verify then says whether that is right'


def _versions(digests: Mapping[str, list[str]]) -> str:
    versions = sorted({version for found in digests.values() for version in found})
    return " or ".join(versions) if versions else "any version that was proven"


def recorded(document: dict[str, Any], found: Mapping[str, str], version: str) -> dict[str, Any]:
    """Add what a version of a library has to what is known.

    Args:
        document: what the file holds.
        found: the qualified name of each class → its digest.
        version: the library's name and version.

    Returns:
        What the file shall hold, in an order of its own.
    """
    classes = {
        name: {digest: list(versions) for digest, versions in held.items()}
        for name, held in document.get("classes", {}).items()
    }
    for name, digest in found.items():
        versions = classes.setdefault(name, {}).setdefault(digest, [])
        if version not in versions:
            versions.append(version)
    ordered = {
        name: {digest: sorted(held[digest]) for digest in sorted(held)}
        for name, held in sorted(classes.items())
    }
    return {"schema": 1, "classes": ordered}
