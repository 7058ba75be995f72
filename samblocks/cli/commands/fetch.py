"""`samblocks fetch NAME`: a public checkpoint on this machine."""

from __future__ import annotations

import argparse

HELP = "download a public checkpoint, compare it with the lock, and print its path"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("variant", metavar="NAME", help="a name that `samblocks list` shows, or a variant")
    parser.add_argument("--source", help="who distributes the file, such as transformers or ultralytics")
    parser.add_argument("--offline", action="store_true", help="take it from the cache or not at all")


def run(arguments: argparse.Namespace) -> int:
    """Fetch the file and print where it is."""
    from samblocks.checkpoints import published

    print(published.fetch(arguments.variant, source=arguments.source, offline=arguments.offline))
    return 0
