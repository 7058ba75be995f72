"""What a check depends on, as one hash: so that an interrupted run can go on where it stopped."""

import hashlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from parity.testing.check import Inputs
from parity.testing.golden_file import digest


def fingerprint(
    name: str,
    candidate: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Inputs,
    how: Mapping[str, Any],
) -> str:
    """Hash of a check's name, inputs, options, weights, and the files its code stands in."""
    parts = [
        name,
        digest(inputs),
        repr(sorted((key, repr(value)) for key, value in how.items())),
        torch.__version__,
    ]
    for side in (candidate, reference):
        parts += _code(side)
        if isinstance(side, nn.Module):
            parts.append(digest(dict(side.state_dict())))
            parts.append(str(side.training))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _code(side: Callable[..., Any]) -> list[str]:
    """Hashes of the files that define a callable and, for a module, all modules in it."""
    owners = {type(part) for part in side.modules()} if isinstance(side, nn.Module) else {side}
    files = set()
    for owner in owners:
        try:
            files.add(inspect.getsourcefile(owner))
        except TypeError:  # built in
            continue
    return [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in sorted(filter(None, files))]
