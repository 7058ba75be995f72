"""Which backends and precisions there are, and what each needs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from samblocks.errors import EngineError
from samblocks.predict.arguments import path

PRECISIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"openvino": ("f32", "bf16", "int8"), "onnxruntime": ("f32", "int8"), "compile": ("f32",)}
)
"""The precisions of each backend."""

_NEEDS: Mapping[str, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        "openvino": (("openvino", "openvino"),),
        "onnxruntime": (("onnxruntime", "onnx"), ("onnx", "onnx")),
        "compile": (),
    }
)
"""The packages that a backend needs, and the extra of samblocks that has each."""


@dataclass(frozen=True)
class Settings:
    """What was asked for.

    Args:
        backend: "openvino", "onnxruntime" or "compile".
        precision: "f32", "bf16" or "int8"; the engine is told, never left to choose.
        calibration: pictures from which the ranges of values in int8 are taken.
        cache: a folder for compiled graphs; False for none, None for the usual one.
        wide: paths of modules in the model that stay in float32 in int8.
    """

    backend: str
    precision: str
    calibration: Sequence[Any] = ()
    cache: Path | bool | None = None
    wide: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As in a table: `openvino int8`."""
        return f"{self.backend} {self.precision}"


def checked(backend: str, precision: str, calibration: Any, cache: Any = None) -> None:
    """Refuse what there is not, before anything is done.

    Raises:
        ValueError: an unknown backend, a precision that it has not, int8 without pictures, a cache that is no folder.
        EngineError: a package is missing, or the processor does not compute in this precision.

    Examples:
        >>> checked("compile", "int8", None)
        Traceback (most recent call last):
        ...
        ValueError: precision='int8': the backend 'compile' has 'f32'
    """
    if not isinstance(backend, str) or backend not in PRECISIONS:
        raise ValueError(f"backend={backend!r} must be one of {_listed(PRECISIONS)}")
    if precision not in PRECISIONS[backend]:
        raise ValueError(
            f"precision={precision!r}: the backend {backend!r} has {_listed(PRECISIONS[backend])}"
        )
    if calibration is not None:
        check_list(calibration, "calibration", "pictures")
    if precision == "int8" and not calibration:
        raise ValueError(
            "precision='int8' needs calibration=, some pictures like those to come: ranges of values are taken "
            "from them"
        )
    if precision != "int8" and calibration is not None:
        raise ValueError(f"calibration is for precision='int8', not for {precision!r}")
    if cache is not None and not isinstance(cache, bool):
        place = path(cache, "cache", "False or ")
        if not place:
            raise ValueError("cache='' must be False or a path: . is the working folder")
        if os.path.lexists(place) and not os.path.isdir(place):
            raise ValueError(f"cache={place!r} is there already and no folder: name another place")
    needs = (*_NEEDS[backend], *((("nncf", "openvino"),) if precision == "int8" else ()))
    for package, extra in needs:
        require(package, extra)
    if (backend, precision) == ("openvino", "bf16"):
        refuse_without_bfloat16()


def refuse_without_bfloat16() -> None:
    """Refuse bfloat16 where OpenVINO would compute in float32 without a word.

    Raises:
        EngineError: the processor has no instructions for it.
    """
    capabilities = require("openvino", "openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in capabilities:
        raise EngineError(
            "precision='bf16': OpenVINO has no bfloat16 on this processor and would compute in float32; "
            "take precision='f32'"
        )


def check_list(value: Any, argument: str, what: str) -> None:
    """Refuse what is no list: a text is one of letters, an array one of rows.

    Raises:
        ValueError: it is none.

    Examples:
        >>> check_list("photo.png", "calibration", "pictures")
        Traceback (most recent call last):
        ...
        ValueError: calibration must be a list of pictures, not a str
    """
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ValueError(f"{argument} must be a list of {what}, not a {type(value).__name__}")


def require(package: str, extra: str) -> Any:
    """Import a package that an extra of samblocks has.

    Raises:
        EngineError: it is not installed; the sentence names the extra.
    """
    if find_spec(package) is None:
        raise EngineError(
            f"{package} is not installed, which this engine runs on: pip install 'samblocks[{extra}]'"
        )
    try:
        return import_module(package)
    except ImportError as error:
        raise EngineError(f"{package} is installed, but cannot be imported: {error}") from error


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in names)
