"""`samblocks inspect FILE`: what a checkpoint is, and what becomes of every tensor in it."""

from __future__ import annotations

import argparse

from samblocks.cli.text import ENVELOPE

HELP = "explain a checkpoint file: its layout, its variant, and what becomes of each tensor"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="FILE", help="a .pt, .pth or .safetensors file")
    parser.add_argument("--envelope", metavar="KEY", help=ENVELOPE)
    parser.add_argument("--json", action="store_true", help="print the whole report as JSON")
    parser.add_argument("--sha256", action="store_true", help="compute the hash, and look it up in the list")


def run(arguments: argparse.Namespace) -> int:
    """Print the report; 1 if a tensor is unexplained, missing or of another shape."""
    from samblocks.checkpoints import inspect

    report = inspect(arguments.file, sha256=arguments.sha256, envelope=arguments.envelope)
    print(report.to_json() if arguments.json else report)
    return 0 if report.complete else 1
