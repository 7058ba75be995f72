"""Upstream packages as references: each runs in a worker process, in an environment of its own.

Only tensors, names and numbers cross the pipe. Nothing outside this folder imports an upstream package, and the
modules that do are imported by the worker alone.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """One reference: the name used on the command line, and the packages it rests on."""

    name: str
    module: str
    packages: tuple[str, ...]


REFERENCES: dict[str, Reference] = {
    reference.name: reference
    for reference in (
        Reference("meta", "parity.references.meta", ("sam2", "segment-anything")),
        Reference("ultralytics", "parity.references.ultralytics_sam", ("ultralytics",)),
    )
}
