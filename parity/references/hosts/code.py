"""The digests of a host's classes, as it is installed: what `parity swap --record-code` writes down."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module, metadata
from typing import BinaryIO

from torch import nn

from parity.references.common import torchvision_operators
from parity.workers.protocol import send
from samblocks.swap.catalog import CATALOG, qualified
from samblocks.swap.code_digest import class_digest

DISTRIBUTIONS = {"segment_anything": "segment-anything"}
"""Names of distributions that differ from their packages'."""


def serve(incoming: BinaryIO, outgoing: BinaryIO, packages: Sequence[str]) -> None:
    """Send the digests of each library.

    Args:
        incoming: the pipe that nothing comes from.
        outgoing: the pipe that rows go to.
        packages: libraries by the names of their packages.
    """
    torchvision_operators.declare_missing()
    send(outgoing, {"status": "ready"})
    for package in packages:
        version = metadata.version(DISTRIBUTIONS.get(package, package))
        row = {"version": f"{package} {version}", "digests": digests(package)}
        send(outgoing, {"status": "ok", "row": row})
    send(outgoing, {"status": "done"})


def digests(package: str) -> dict[str, str]:
    """The digest of every module class in the files of a library in which the catalogue has one."""
    homes = {name.rpartition(".")[0] for name in CATALOG if name.partition(".")[0] == package}
    found = {}
    for home in sorted(homes):
        for kind in vars(import_module(home)).values():
            if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__ == home:
                found[qualified(kind)] = class_digest(kind)
    return found
