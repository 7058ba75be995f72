"""What a compiled graph depends on, as a hash: weights, code, versions and settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@cache
def code_digest() -> str:
    """A hash of all that a graph is traced from: our own sources."""
    found = hashlib.sha256()
    folder = Path(__file__).parents[1]
    for name in ("blocks", "engines", "models", "ops"):
        for path in sorted((folder / name).rglob("*.py")):
            found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def weights_digest(module: nn.Module) -> str:
    """A hash of a module's parameters and buffers, with their names, shapes and dtypes."""
    found = hashlib.sha256()
    for name, tensor in sorted({**dict(module.named_parameters()), **dict(module.named_buffers())}.items()):
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def settings_of(module: nn.Module) -> list[Any]:
    """The classes of a module and of all in it, with their plain attributes: sizes, flags, epsilons."""
    found = []
    for path, part in module.named_modules():
        plain = {name: repr(value) for name, value in sorted(vars(part).items()) if _is_plain(value)}
        found.append([path, type(part).__module__ + "." + type(part).__qualname__, plain])
    return found


def fingerprint(module: nn.Module, **more: Any) -> str:
    """A hash of a module and of what is made of it.

    Args:
        module: whose weights, code and settings count.
        **more: versions, shapes, options; anything that JSON takes.
    """
    document: Mapping[str, Any] = {
        "torch": torch.__version__,
        "code": code_digest(),
        "weights": weights_digest(module),
        "settings": settings_of(module),
        **more,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def versions_of(module: nn.Module) -> list[tuple[int, int]]:
    """Which tensors a module holds, and how often each was written to: differs where weights have changed since."""
    return [(id(x), 0 if x.is_inference() else x._version) for x in _tensors(module)]


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
