"""`parity synthesize`: a checkpoint with official names, shapes, order and envelope, and values by name."""

import argparse
from pathlib import Path

from parity.errors import UsageError
from parity.execution.fill import fill_


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser("synthesize", help="write a filled checkpoint", description=__doc__)
    parser.add_argument("variant", help="for instance sam2.1_hiera_tiny; `samblocks list` shows them")
    parser.add_argument("--layout", default="meta", help="layout to write (default: meta)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=".pt, .pth or .safetensors")
    parser.set_defaults(action=_synthesize)


def _synthesize(options: argparse.Namespace) -> int:
    from samblocks.checkpoints import save
    from samblocks.models.build import build
    from samblocks.variants import VARIANTS

    if not options.out.parent.is_dir():
        raise UsageError(f"{options.out.parent} is not a folder; make it first")
    if options.variant not in VARIANTS:
        raise UsageError(f"no variant is called {options.variant!r}; there are {', '.join(VARIANTS)}")
    model = fill_(build(options.variant))
    save(model, options.out, layout=options.layout)
    print(
        f"{options.out}: {options.variant} in {options.layout}'s layout, {options.out.stat().st_size:,} bytes"
    )
    return 0
