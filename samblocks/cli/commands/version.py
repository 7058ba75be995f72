"""`samblocks version`: what is installed, for reports of bugs."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform

import samblocks

HELP = "print the versions of samblocks and of what it runs on"
PACKAGES = ("torch", "numpy", "safetensors", "huggingface_hub", "rich")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(_: argparse.Namespace) -> int:
    """Print the versions."""
    print(f"samblocks {samblocks.__version__}")
    print(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        try:
            print(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            print(name, "is not installed")
    return 0
