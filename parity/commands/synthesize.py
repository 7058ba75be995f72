"""`parity synthesize`: a checkpoint with official names, shapes, order and envelope, and values by name."""

import argparse
from pathlib import Path

from parity.errors import UsageError
from parity.execution.fill import fill_
from samblocks.variants import LAYOUTS

HELP = "write a filled checkpoint"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("variant", help="for instance sam2.1_hiera_tiny; `samblocks list` shows them")
    parser.add_argument("--layout", choices=LAYOUTS, default="meta", help="layout to write (default: meta)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".pt, .pth or .safetensors")


def run(options: argparse.Namespace) -> int:
    """Write the file and print its size."""
    from samblocks.checkpoints import save
    from samblocks.checkpoints.writing.write import ENDINGS
    from samblocks.layouts.tables import variants_of
    from samblocks.models.build import build
    from samblocks.variants import VARIANTS

    if options.out.suffix not in ENDINGS:
        raise UsageError(f"--out must end in {', '.join(ENDINGS)}, not {options.out.name!r}")
    if not options.out.parent.is_dir():
        raise UsageError(f"{options.out.parent} is not a folder; make it first")
    if options.variant not in VARIANTS:
        raise UsageError(f"no variant is called {options.variant!r}; there are {', '.join(VARIANTS)}")
    if VARIANTS[options.variant] not in variants_of(options.layout):
        raise UsageError(f"{options.variant} does not exist in {options.layout}'s layout")
    model = fill_(build(options.variant))
    save(model, options.out, layout=options.layout)
    print(
        f"{options.out}: {options.variant} in {options.layout}'s layout, {options.out.stat().st_size:,} bytes"
    )
    return 0
