"""Recipes: which modules stay in float32 where all others are quantized."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from samblocks.files import write_text
from samblocks.predict.arguments import path as path_of

FORMAT = "samblocks recipe 1"


def wide_modules(
    recipe: str | os.PathLike[str] | Mapping[str, Any] | None, precision: str
) -> tuple[str, ...]:
    """The paths of the modules that a recipe keeps in float32.

    Args:
        recipe: a file, or what is in it.
        precision: what everything else is in.

    Raises:
        ValueError: it is none, or not for this precision.

    Examples:
        >>> wide_modules({"format": FORMAT, "precision": "int8", "wide": ["mask_decoder"]}, "int8")
        ('mask_decoder',)
    """
    if recipe is None:
        return ()
    if precision != "int8":
        raise ValueError(
            f"recipe is for precision='int8', not for {precision!r}: there nothing else can stay wide"
        )
    if not isinstance(recipe, Mapping):
        recipe = path_of(recipe, "recipe", "what a recipe holds or ")
    try:
        found = (
            recipe if isinstance(recipe, Mapping) else json.loads(Path(recipe).read_text(encoding="utf-8"))
        )
    except (OSError, ValueError) as error:
        raise ValueError(f"recipe {recipe!r} cannot be read: {error}") from error
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        raise ValueError(
            f"recipe: its format must be {FORMAT!r}; `parity sensitivity --recipe FILE` writes one"
        )
    if found.get("precision") != precision:
        raise ValueError(f"recipe: it is for {found.get('precision')!r}, not for {precision!r}")
    wide = found.get("wide")
    if not isinstance(wide, list) or not all(isinstance(path, str) and path for path in wide):
        raise ValueError("recipe: wide must be a list of paths of modules")
    return tuple(wide)


def check(wide: Sequence[str], model: nn.Module) -> None:
    """Refuse paths that the model has not.

    Raises:
        ValueError: a module is not there.
    """
    there = dict(model.named_modules())
    missing = [path for path in wide if path not in there]
    if missing:
        raise ValueError(f"recipe: the model has no module {missing[0]!r}")


def write(path: str | os.PathLike[str], precision: str, wide: Sequence[str], **more: Any) -> None:
    """Write a recipe.

    Args:
        path: the file.
        precision: what everything else is in.
        wide: paths of the modules that stay in float32.
        **more: what it follows from, for people.
    """
    document = {"format": FORMAT, "precision": precision, "wide": list(wide), **more}
    write_text(path, json.dumps(document, indent=1) + "\n")
