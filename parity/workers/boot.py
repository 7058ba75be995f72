"""What every process of the references' environment runs first: it greets, finds our packages, calls one function.

The file is run by its path, before anything of ours can be imported: it needs the standard library alone.
"""

import importlib
import importlib.util
import json
import os
import struct
import sys
import types
from collections.abc import Mapping
from typing import BinaryIO

MAGIC = b"\x93PARITY\n"
"""What every message begins with: nothing that a library or a shell prints does."""

LENGTHS = struct.Struct("<QQ")
"""The lengths of a message's header and body, which follow the magic word."""


def main(request: str) -> None:
    """Greet, register packages and call a function.

    Args:
        request: JSON of the packages' folders by name, the function as `module:function`, and its arguments by name;
            it is also given the pipes that requests come from and answers go to.
    """
    folders, entry, arguments = json.loads(request)
    incoming, outgoing = claim_pipes()
    greet(outgoing, "started")
    register(folders)
    module, _, function = entry.partition(":")
    call = getattr(importlib.import_module(module), function)
    greet(outgoing, "imported")
    call(incoming, outgoing, **arguments)


def claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep the pipes for messages alone: what a library prints goes to standard error, and it reads nothing."""
    incoming = os.fdopen(os.dup(0), "rb", buffering=1 << 20)
    outgoing = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout = sys.stderr
    return incoming, outgoing


def greet(outgoing: BinaryIO, status: str) -> None:
    """Say how far the start has come, in a message without tensors."""
    head = json.dumps([{"status": status}, []]).encode()
    outgoing.write(MAGIC + LENGTHS.pack(len(head), 0) + head)
    outgoing.flush()


def register(folders: Mapping[str, str]) -> None:
    """Make packages importable from their folders.

    Their parent folder, which may be a site-packages, is not put on the path. A package with a dotted name gets
    parents that hold nothing else: of `samblocks.numerics` alone no other part of samblocks can be imported.
    """
    for name, folder in folders.items():
        parent, _, last = name.rpartition(".")
        _ensure(parent)
        spec = importlib.util.spec_from_file_location(
            name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{folder} holds no package")
        sys.modules[name] = package = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(package)
        if parent:
            setattr(sys.modules[parent], last, package)


def _ensure(name: str) -> None:
    if not name or name in sys.modules:
        return
    parent, _, last = name.rpartition(".")
    _ensure(parent)
    sys.modules[name] = package = types.ModuleType(
        name, "A parent of registered packages, empty but for them."
    )
    package.__path__ = []
    if parent:
        setattr(sys.modules[parent], last, package)


if __name__ == "__main__":
    main(sys.argv[1])
