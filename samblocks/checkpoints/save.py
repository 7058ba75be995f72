"""From a model to a checkpoint file in any layout."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from samblocks.checkpoints.boundary import boundary
from samblocks.checkpoints.conversion_plan import Named, check_dtypes, envelope_of, prepare
from samblocks.checkpoints.sharded import gathered, is_spread, wait
from samblocks.checkpoints.tensor_source import TensorSource, check_dtype
from samblocks.checkpoints.writing.write import check_target, write
from samblocks.errors import CheckpointError, LayoutError
from samblocks.layouts import LAYOUTS, detect
from samblocks.layouts.tensors import describe


def save(
    model: nn.Module, path: str | os.PathLike[str], *, layout: str = "meta", dtype: torch.dtype | None = None
) -> None:
    """Write a model's weights, so that upstream's own loaders take them.

    The file takes its name only when it is whole, so an interrupted save leaves the old
    file as it was, and a model may be saved over the file that it is mapped from.

    Args:
        model: a model of `build` or `load`, or a part of one. One that is spread over processes
            (`load(..., sharded=mesh)`) is written by the first of them, and all must call this.
        path: ends in `.pt` or `.pth` (torch.save's format, with the envelope of the layout's own files) or in
            `.safetensors`. An existing file is replaced.
        layout: one of `samblocks.layouts.LAYOUTS`.
        dtype: that weights are converted to; by default each stays as it is.

    Raises:
        CheckpointError: the file cannot be written, or the layout has no place for some of the weights.
        ValueError: the ending, the layout or the dtype is not one of those that exist.

    >>> import tempfile, torch
    >>> from samblocks.models import PromptEncoder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(PromptEncoder(256, (64, 64), (1024, 1024), 16), f"{folder}/prompts.pt")
    ...     len(torch.load(f"{folder}/prompts.pt", weights_only=True))
    17
    """
    target = Path(path)
    check_target(target)
    check_dtype(dtype)
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    state = gathered({name: value.detach() for name, value in model.state_dict().items()})
    try:
        if state is not None:
            with boundary(target, "written"):
                source = _in_layout(_own(state), layout).cast(dtype)
            write(target, source)
    except LayoutError as error:
        raise CheckpointError(f"{target} is not written: {error}.") from None
    finally:
        if is_spread(model):
            wait()


def _own(state: Mapping[str, Tensor]) -> TensorSource:
    """The model's tensors, all of dtypes that `load` takes."""
    infos = describe(state)
    check_dtypes(
        infos, {name: "I64" if name.endswith("num_batches_tracked") else "F32" for name in infos}, "the model"
    )
    return TensorSource(infos, state.__getitem__)


def _in_layout(own: TensorSource, layout: str) -> TensorSource:
    """The model's tensors as another layout wants them; Meta's and Ultralytics' want them as they are."""
    if layout in ("meta", "ultralytics"):
        found = detect(own.tensors)
        return own if found.component else replace(own, envelope=envelope_of(layout, found.rows[0]))
    named = Named(own, "the model")
    return prepare(named, layout, drop=False, base=None, model_class=None, file=True)[0]
