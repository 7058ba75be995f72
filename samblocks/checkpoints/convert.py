"""From one layout to another: state dicts in memory, and whole files tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from samblocks.checkpoints.boundary import boundary
from samblocks.checkpoints.conversion_plan import Conversion, Named, prepare
from samblocks.checkpoints.reading.read import read
from samblocks.checkpoints.tensor_source import TensorSource, check_dtype
from samblocks.checkpoints.writing.write import check_target, write
from samblocks.errors import CheckpointError, LayoutError
from samblocks.layouts.tensors import describe


def convert(
    state_dict: Mapping[str, Tensor],
    to: str,
    *,
    drop: bool = False,
    base: Mapping[str, Tensor] | str | os.PathLike[str] | None = None,
    model_class: str | None = None,
) -> dict[str, Tensor]:
    """Rename and repack a state dict from the layout that it has to another one.

    Args:
        state_dict: name to tensor, in any layout, with or without prefixes. It is not changed, but tensors of
            the result may share memory with it.
        to: one of `samblocks.layouts.LAYOUTS`.
        drop: allow that tensors which the target has no place for, and those that are not understood, are
            left out.
        base: a whole checkpoint, in any layout, that gives what a part of a model lacks.
        model_class: `"Sam2VideoModel"` or `"Sam2Model"`, for transformers; the first, which holds all, if None.

    Returns:
        Name to tensor in the order of the target's own state dict.

    Raises:
        LayoutError: a tensor is not understood, would be dropped, or is missing.
        ValueError: `to` or `model_class` does not exist.

    >>> import torch
    >>> from samblocks import VARIANTS
    >>> from samblocks.layouts import expected
    >>> shapes = expected("meta", VARIANTS["sam2.1_hiera_tiny"])
    >>> state = {name: torch.zeros(()).expand(info.shape) for name, info in shapes.items()}
    >>> there = convert(state, "transformers")
    >>> there["prompt_encoder.point_embed.weight"].shape
    torch.Size([4, 256])
    >>> convert(there, "meta").keys() == state.keys()
    True
    """
    given = Named(TensorSource(describe(state_dict), state_dict.__getitem__), "the state dict")
    source, _ = prepare(given, to, drop=drop, base=_base(base), model_class=model_class)
    return {name: source.get(name) for name in source.tensors}


def convert_file(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    to: str,
    dtype: torch.dtype | None = None,
    model_class: str | None = None,
    drop: bool = False,
    base: str | os.PathLike[str] | None = None,
    envelope: str | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Convert a checkpoint file, holding one tensor at a time.

    Args:
        src: the file, in any layout and format that is read here.
        dst: where to write; the format follows from its ending.
        to: one of `samblocks.layouts.LAYOUTS`.
        dtype: that weights are converted to; by default each stays as it is.
        model_class: as in `convert`.
        drop: as in `convert`.
        base: as in `convert`, a file.
        envelope: the key of the table that is meant where `src` holds several, such as `"net_ema"`, with dots
            between those of nested ones; or what the names that are meant begin with.
        overwrite: whether `dst` may be `src` or `base` itself, which is replaced once the new file is whole.

    Returns:
        What was done: layouts, variant, what was dropped, invented, or taken from the base.

    Raises:
        CheckpointError: a file cannot be read or written, or what `convert` raises a LayoutError for.
        ValueError: an argument names something that does not exist.
    """
    target = Path(dst)
    check_target(target)
    check_dtype(dtype)
    if not overwrite and any(one is not None and _same(target, one) for one in (src, base)):
        raise CheckpointError(
            f"{target} is itself what is read: name another file, or allow it with overwrite=True (--overwrite)."
        )
    file = read(src, envelope=envelope)
    given = Named(TensorSource(file.tensors, file.get), "the file")
    below = _base(base)
    try:
        with boundary(file.path, "converted"):
            source, conversion = prepare(given, to, drop=drop, base=below, model_class=model_class, file=True)
        write(target, source.cast(dtype))
    except LayoutError as error:
        raise CheckpointError(f"{file.path} is not converted: {error}.") from None
    return conversion


def _same(target: Path, source: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file; one that is not there leads nowhere."""
    try:
        return os.path.samefile(target, source)
    except (OSError, ValueError):
        return False


def _base(base: Mapping[str, Tensor] | str | os.PathLike[str] | None) -> Named | None:
    if base is None:
        return None
    if isinstance(base, Mapping):
        return Named(TensorSource(describe(base), base.__getitem__), "base")
    file = read(base)
    return Named(TensorSource(file.tensors, file.get), "base")
