"""`samblocks convert IN OUT --to LAYOUT`: a checkpoint in another library's layout."""

from __future__ import annotations

import argparse

from samblocks.cli.text import ENVELOPE
from samblocks.errors import LONGEST, printable
from samblocks.variants import LAYOUTS, MODEL_CLASSES

HELP = "write a checkpoint file in another layout"
DTYPES = ("float64", "float32", "bfloat16", "float16")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", metavar="IN", help="the file to read")
    parser.add_argument(
        "target", metavar="OUT", help="the file to write, .pt, .pth or .safetensors by its ending"
    )
    parser.add_argument("--to", choices=LAYOUTS, required=True, help="the layout to write")
    parser.add_argument("--dtype", choices=DTYPES, help="the dtype to write; by default that of the file")
    parser.add_argument(
        "--class",
        choices=MODEL_CLASSES,
        dest="model_class",
        help="the class of transformers that shall read the file",
    )
    parser.add_argument(
        "--drop",
        action="store_true",
        help="leave out what the layout cannot hold and what is not understood, and list it",
    )
    parser.add_argument("--envelope", metavar="KEY", help=ENVELOPE)
    parser.add_argument("--overwrite", action="store_true", help="allow that OUT is IN itself")
    parser.add_argument("--base", metavar="FILE", help="take what IN lacks from this file")


def run(arguments: argparse.Namespace) -> int:
    """Convert the file; list what was dropped, made up, or taken from the base."""
    import torch

    from samblocks.checkpoints import convert_file

    done = convert_file(
        arguments.source,
        arguments.target,
        to=arguments.to,
        dtype=arguments.dtype and getattr(torch, arguments.dtype),
        model_class=arguments.model_class,
        drop=arguments.drop,
        base=arguments.base,
        envelope=arguments.envelope,
        overwrite=arguments.overwrite,
    )
    kind = f" ({done.model_class})" if done.model_class else ""
    what = f"{done.variant}, {done.source} -> {done.target}{kind}, {done.tensors:,} tensors"
    print(f"{printable(arguments.target, LONGEST)}: {what}")
    if done.source != done.target and done.same and not done.dropped:
        print(f"every tensor has the same name in both layouts: the file is {done.source}'s as well")
    for name, why in done.dropped:
        print(f"dropped   {name}  [{why}]")
    for name, why in done.invented:
        print(f"invented  {name}  [{why}]")
    for name in done.from_base:
        print(f"from base {name}")
    return 0
