"""The model that a predictor is made with: given, loaded from a file, or fetched by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from torch import nn

from samblocks.checkpoints.load import load
from samblocks.predict.arguments import path

_HUB: Final = "-hf"
"""What ends the names of transformers' repositories."""


def model_of(model: nn.Module | str | os.PathLike[str], /, argument: str = "model", **options: Any) -> Any:
    """The model itself, or the one that a path or a name means.

    Args:
        model: a module, a path or a name.
        argument: what messages call it.
        **options: `device` and `dtype`, for `samblocks.load`.

    Returns:
        The module.

    Raises:
        ValueError: an option is none of these, or is given with a module; `model` is none of these.
        CheckpointError: as for `samblocks.load`.
    """
    for name in options:
        if name not in ("device", "dtype"):
            raise ValueError(f"{name} is no argument of this predictor")
        if isinstance(model, nn.Module):
            raise ValueError(f"{name} is for a model that is loaded; call the model's own .to(...)")
    if isinstance(model, nn.Module):
        return model
    name = path(model, argument, "a model, a name or ")
    if name.endswith(_HUB) and not os.path.lexists(name):
        return load(name.removesuffix(_HUB), source="transformers", **options)
    return load(name, **options)


def pretrained(name: str, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model of a name, as Meta's builders make it, and the keywords that are left.

    Args:
        name: of a file's repository, or another one that `samblocks.load` knows.
        given: keywords; `device`, `dtype`, `mode` and `apply_postprocessing` are used up.

    Returns:
        The module, and the other keywords.

    Raises:
        ValueError: `mode` is neither "eval" nor "train".
        CheckpointError: as for `samblocks.load`.
    """
    rest = dict(given)
    mode, chosen = rest.pop("mode", "eval"), rest.pop("apply_postprocessing", True)
    if mode not in ("eval", "train"):
        raise ValueError(f"mode must be 'eval' or 'train', not {mode!r}")
    options = {key: rest.pop(key) for key in ("device", "dtype") if key in rest}
    model = model_of(name, **options).train(mode == "train")
    if not chosen and hasattr(model, "sam_mask_decoder"):
        model.sam_mask_decoder.dynamic_multimask_via_stability = False
    return model, rest
