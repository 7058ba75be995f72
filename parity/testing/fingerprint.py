"""What a check depends on, as one hash: so that an interrupted run can go on where it stopped."""

import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import nn

from parity.testing.draws import drawn_inputs
from parity.testing.reach import Function, reached
from parity.testing.values import Inputs, digest

_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(kind)).resolve()) for kind in ("stdlib", "platstdlib", "purelib", "platlib")
)


def fingerprint(
    name: str,
    candidate: Function,
    reference: Function,
    inputs: Inputs | Callable[[int], Inputs],
    how: Mapping[str, Any],
) -> str:
    """Hash of a check's name, inputs, options, weights, settings, and the installed packages."""
    parts = [
        name,
        digest(drawn_inputs(inputs, 0)),
        repr(sorted((key, _token(value)) for key, value in how.items())),
        _installed(),
    ]
    for side in (candidate, reference):
        parts.append(_token(side))
        for path, module in reached(side).items():
            parts += [path, digest(dict(module.state_dict())), *_settings(module)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def project_files(test: Path) -> dict[str, str]:
    """Every file of the project that this process has imported, and the test's own, with hashes.

    What lies in site-packages is known by its version; all else may be edited between two runs.
    """
    found = {str(test): hash_of(str(test))}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and not _is_installed(file) and Path(file).is_file():
            found[file] = hash_of(file)
    return dict(sorted(found.items()))


def hash_of(file: str) -> str:
    """Hash of a file's bytes; empty where it is gone."""
    try:
        state = Path(file).stat()
    except OSError:
        return ""
    return _hash(file, state.st_mtime_ns, state.st_size)


@cache
def _hash(file: str, changed: int, size: int) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@cache
def _is_installed(file: str) -> bool:
    path = str(Path(file).resolve())
    return path.startswith(_LIBRARIES) or "site-packages" in Path(path).parts


@cache
def _installed() -> str:
    names = (f"{each.metadata['Name']} {each.version}" for each in metadata.distributions())
    return " ".join([sys.version, torch.__version__, torch.__config__.show(), *sorted(names)])


def _settings(module: nn.Module) -> Iterator[str]:
    """What modules hold beside tensors: an epsilon that was changed after construction is another function."""
    for path, part in module.named_modules():
        plain = {
            key: value for key, value in vars(part).items() if isinstance(value, bool | int | float | str)
        }
        yield f"{path} {type(part).__qualname__} {sorted(plain.items())}"


def _token(value: Any) -> str:
    """A value without addresses, which differ from run to run."""
    if isinstance(value, FunctionType):
        return f"{value.__qualname__} {hashlib.sha256(value.__code__.co_code).hexdigest()} {value.__code__.co_consts!r}"
    if isinstance(value, nn.Module | type) or callable(value):
        owner = value if inspect.isclass(value) else type(value)
        return f"{owner.__module__}.{getattr(value, '__qualname__', owner.__qualname__)}"
    return digest((value,))
