"""`parity sensitivity`: which layers or blocks bear a lower precision, and which must stay wide.

Each is put into bfloat16 or int8 alone, and ranked by the pixels of masks that flip, then by R. `--recipe FILE` writes
the worst for `samblocks.accelerate(..., precision="int8", recipe=FILE)`, which keeps them in float32.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from parity.errors import UsageError
from parity.execution.folders import check_outputs
from samblocks.files import write_text
from samblocks.variants import VARIANTS

HELP = "each layer or block alone in bf16 or int8, ranked by what it does to masks"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", metavar="FILE", help="a model of yours")
    model.add_argument(
        "--variant", choices=tuple(VARIANTS), default="sam2.1_hiera_tiny", help="one with filled weights"
    )
    parser.add_argument("--image", action="append", default=[], metavar="FILE", help="a picture; repeatable")
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="side of the model's images; by default its own"
    )
    parser.add_argument("--precision", choices=("bf16", "int8"), default="int8")
    parser.add_argument("--by", choices=("layer", "block"), default="block")
    parser.add_argument("--only", default="", metavar="PATH", help="only modules whose paths begin with this")
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="write the modules that stay wide for accelerate"
    )
    parser.add_argument("--wide", type=int, default=8, metavar="N", help="how many stay wide (default 8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything as JSON")


def run(options: argparse.Namespace) -> int:
    """Rank and print; 3 if there is nothing to rank."""
    check_outputs(options.json, options.recipe)
    from parity.bench.sensitivity import effects, ranked
    from parity.execution.fill import fill_
    from samblocks import load
    from samblocks.engines import recipes
    from samblocks.models.build import assemble

    if options.recipe and options.precision != "int8":
        raise UsageError("--recipe is for --precision int8: in bf16 nothing else can stay wide")
    if options.wide < 1:
        raise UsageError(f"--wide must be at least 1, got {options.wide}")
    if options.checkpoint:
        model = load(options.checkpoint, image_size=options.size)
    else:
        model = fill_(assemble(options.variant, image_size=options.size)).eval()
    found = ranked(list(effects(model, options.precision, options.by, options.image, options.only)))
    print(f"| {options.by} | | R | pixels flipped | mean IoU | scores change |")
    print("|---|---|---|---|---|---|")
    for row in found:
        iou, score = ("-" if x is None else f"{x:.3g}" for x in (row.iou, row.score))
        pixels = f"{row.flipped} of {row.pixels}"
        print(f"| `{row.path}` | {row.kind} | {row.ratio:.3g} | {pixels} | {iou} | {score} |")
    if options.json:
        document = {
            "schema": 1,
            "precision": options.precision,
            "by": options.by,
            "rows": [*map(asdict, found)],
        }
        write_text(options.json, json.dumps(document, indent=1) + "\n")
    if options.recipe and found:
        worst = found[: options.wide]
        because = {row.path: {"ratio": row.ratio, "flipped": row.flipped} for row in worst}
        recipes.write(options.recipe, options.precision, [row.path for row in worst], because=because)
        print(f"\n{len(worst)} stay wide: {options.recipe}")
    return 0 if found else 3
