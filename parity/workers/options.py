"""The options of every command that starts processes of the references' environment."""

import argparse
from pathlib import Path

from parity.workers.process import TIMEOUT


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--references", type=Path, metavar="FOLDER", help="the references' environment (default: .references)"
    )
    parser.add_argument(
        "--worker-timeout",
        type=_seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help="how long each step of a worker's start may take (default: %(default)g)",
    )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return value
