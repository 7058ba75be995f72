"""`samblocks swap-plan PACKAGE:FACTORY`: what would be swapped in a model, and what would not."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

HELP = "show which modules of another library's model would be swapped, and why others would not"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "factory",
        metavar="PACKAGE:FACTORY",
        help="what makes the model when it is called without arguments, or the model or predictor itself",
    )
    parser.add_argument(
        "--trust",
        choices=("code", "names"),
        default="code",
        help="what classes are known by: their code, so that forks are kept, or their names alone",
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Make the model and print the plan; 1 if nothing would be swapped."""
    from torch import nn

    from samblocks.swap import swap_blocks

    found = _find(arguments.factory)
    model = found
    if callable(found) and not isinstance(found, nn.Module):
        try:
            model = found()
        except Exception as error:
            words = str(error).partition("\n")[0]
            raise ValueError(f"{arguments.factory} failed: {type(error).__name__}: {words}") from error
    plan = swap_blocks(model, dry_run=True, trust=arguments.trust)
    print(plan.to_json() if arguments.json else plan)
    return 0 if plan.swapped else 1


def _find(name: str) -> Any:
    """The object that `package.module:name` names; modules in the current folder count."""
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not path:
        raise ValueError(f"factory must be written package.module:function, got {name!r}")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = import_module(module_name)
    except ImportError as error:
        raise ValueError(f"cannot import {module_name!r}: {error}") from None
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{module_name!r} has no {path!r}")
        found = getattr(found, part)
    return found
