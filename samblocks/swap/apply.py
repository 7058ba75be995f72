"""`swap_blocks`: our modules inside other people's models, and everything given back on demand."""

from __future__ import annotations

from typing import Any, get_args

from torch import nn

from samblocks.swap.known_code import Trust
from samblocks.swap.match import Where, match
from samblocks.swap.report import SwapReport


def swap_blocks(
    model: Any, where: Where | None = None, *, dry_run: bool = False, trust: Trust = "code"
) -> SwapReport:
    """Put our blocks in the place of another library's inside a live model.

    Models of Ultralytics, sam2, segment_anything and transformers are known, by the names and the code of their
    classes: none of these libraries is imported, and no class of theirs is changed. The largest modules go first:
    a whole encoder is one swap, not one for each of its blocks. Ours hold the same parameter and buffer objects,
    under the same names in the state dict, so that optimizers, tied weights, devices and dtypes stay as they are;
    and they follow the host's order of operations, so that results do.

    What cannot be swapped is kept, and the report says why: modules with hooks, with a replaced or overridden
    `forward`, compiled, scripted or sharded ones. Layers that adapters or quantization have replaced stay in
    place inside ours.

    Args:
        model: the model; it is never replaced itself, only what is in it. A predictor that is no module is
            taken for the model that it holds.
        where: called with each module that could be swapped and its path, from the outside in; where it says
            False, the search goes on inside. A module that is swapped takes along what is in it, unasked.
        dry_run: find out and report, change nothing.
        trust: "code" swaps a class whose code is that of a version that was proven, whatever its own version;
            forks keep the names of what they change, and are kept. "names" swaps by names alone: ask the report's
            `verify` then.

    Returns:
        The report, which can undo everything; as a context manager it does so at the end of the block.

    Raises:
        TypeError: `model` neither is a module nor holds one.
        ValueError: `trust` is neither.

    Examples:
        >>> from torch import nn
        >>> report = swap_blocks(nn.Sequential(nn.Linear(2, 2)))  # nothing in it that ours could stand for
        >>> report.swapped, report.kept
        ((), ())
    """
    if trust not in get_args(Trust):
        raise ValueError(f"trust must be one of {', '.join(get_args(Trust))}, got {trust!r}")
    root = _root(model)
    rows, exchanges = match(root, where, trust)
    report = SwapReport(root, rows, exchanges, dry_run=dry_run)
    if not dry_run:
        report.apply()
    return report


def _root(model: Any) -> nn.Module:
    """The module that is meant: the argument, or what it holds as `model` or `predictor.model`."""
    found = model
    for _ in range(3):
        wrapper = type(found).__module__.startswith("ultralytics.") and type(found).__name__ == "SAM"
        if isinstance(found, nn.Module) and not wrapper:
            return found
        inner = getattr(found, "model", None)
        found = inner if isinstance(inner, nn.Module) else getattr(found, "predictor", None)
    raise TypeError(
        f"model must be a torch module or hold one as .model or .predictor.model, got {type(model).__name__}; "
        "a predictor that makes its model later has to be set up first"
    )
