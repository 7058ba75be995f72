"""`samblocks.load` with an engine: a checkpoint into a model whose slow parts run in another runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack, overload

from torch import nn

from samblocks.checkpoints.load import LoadOptions
from samblocks.checkpoints.load import load as load_eager
from samblocks.checkpoints.report import LoadReport
from samblocks.models.sam1.model import SAMModel
from samblocks.models.sam2.model import SAM2Model


class EngineOptions(LoadOptions, total=False):
    """What may be given to `load` and says nothing about the type of its result."""

    backend: str | None
    precision: str | None
    calibration: Sequence[Any] | None
    cache: str | os.PathLike[str] | bool | None
    recipe: str | os.PathLike[str] | Mapping[str, Any] | None


_Path = str | os.PathLike[str]


@overload
def load(
    path_or_name: _Path,
    *,
    component: None = ...,
    strict: Literal[True] = ...,
    **options: Unpack[EngineOptions],
) -> SAMModel | SAM2Model: ...
@overload
def load(
    path_or_name: _Path,
    *,
    component: None = ...,
    strict: Literal["explain"],
    **options: Unpack[EngineOptions],
) -> tuple[SAMModel | SAM2Model, LoadReport]: ...
@overload
def load(
    path_or_name: _Path, *, component: str, strict: Literal[True] = ..., **options: Unpack[EngineOptions]
) -> nn.Module: ...
@overload
def load(
    path_or_name: _Path, *, component: str, strict: Literal["explain"], **options: Unpack[EngineOptions]
) -> tuple[nn.Module, LoadReport]: ...
def load(
    path_or_name: _Path,
    *,
    backend: str | None = None,
    precision: str | None = None,
    calibration: Sequence[Any] | None = None,
    cache: str | os.PathLike[str] | bool | None = None,
    recipe: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module | tuple[nn.Module, LoadReport]:
    """Load a checkpoint of any layout and wrapping; with `backend`, into a model that runs in an engine.

    Args:
        path_or_name: a file, a folder of transformers, or a name: see `samblocks.checkpoints.load`, whose
            keywords and results are these as well.
        backend: None, or where the slow parts run: see `samblocks.accelerate`. Its report is
            `samblocks.engine_report(model)`.
        precision: as for `samblocks.accelerate`; "f32" if None.
        calibration: as for `samblocks.accelerate`.
        cache: as for `samblocks.accelerate`.
        recipe: as for `samblocks.accelerate`.
        **options: `variant`, `component`, `source`, `image_size`, `num_maskmem`, `in_chans`, `envelope`, `device`,
            `dtype`, `mmap`, `strict`.

    Raises:
        CheckpointError: the file cannot be read, or does not fit.
        ValueError: an argument names something that does not exist, or says something about an engine without
            `backend`.
        EngineError: a runtime is missing, or cannot take the model.

    Examples:
        >>> load("model.pt", precision="bf16")
        Traceback (most recent call last):
        ...
        ValueError: precision is for an engine: give backend= too
    """
    given = {"precision": precision, "calibration": calibration, "cache": cache, "recipe": recipe}
    if backend is None:
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name} is for an engine: give backend= too")
        return _eager(path_or_name, options)
    if options.get("component") is not None:
        raise ValueError("backend is for a whole model: load it without component=")
    from samblocks.engines.accelerate import accelerate  # what no engine needs does not wait for it
    from samblocks.engines.settings import checked

    checked(backend, precision or "f32", calibration, cache)  # before a large file is read
    found = _eager(path_or_name, options)
    model: nn.Module = found[0] if isinstance(found, tuple) else found
    accelerate(model, backend, precision or "f32", calibration, cache, recipe=recipe)
    return found


def _eager(path_or_name: _Path, options: Mapping[str, Any]) -> nn.Module | tuple[nn.Module, LoadReport]:
    found: nn.Module | tuple[nn.Module, LoadReport] = load_eager(path_or_name, **options)
    return found
