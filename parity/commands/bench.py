"""`parity bench`: loading and forward passes beside upstream's, in turn, so that a busy machine slows both alike.

Prints tables in Markdown. Exit status 1 means that a goal of loading was missed; forward passes have no goal.
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from parity.errors import UsageError
from parity.workers import options as worker_options
from parity.workers.client import interpreter
from samblocks.files import write_text

if TYPE_CHECKING:
    from parity.bench.forward import Timing
    from parity.bench.load import Loading

HELP = "time and memory beside upstream's"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--only", choices=("load", "forward"), help="one of the two benchmarks")
    parser.add_argument("--rounds", type=int, default=5, help="times each side is measured (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each side (default 1)")
    parser.add_argument("--file", type=Path, help="a sam_vit_h checkpoint to load instead of a made-up one")
    parser.add_argument("--folder", type=Path, help="where temporary files go (5 GB)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    worker_options.add(parser)


def run(options: argparse.Namespace) -> int:
    """Measure and print the tables; 1 if a goal of loading was missed."""
    if options.rounds < 1 or options.threads < 1:
        raise UsageError("--rounds and --threads must be at least 1")
    python = interpreter(options.references)
    if python is None:
        print("parity: the references' environment is missing: make references", file=sys.stderr)
        return 3
    figures: dict[str, object] = {"environment": surroundings(options.threads, options.rounds)}
    print(header(options.threads, options.rounds))
    missed: list[str] = []
    if options.only != "forward":
        from parity.bench import load

        found = load.compare(
            python,
            options.rounds,
            options.threads,
            options.file,
            options.folder,
            timeout=options.worker_timeout,
        )
        figures["load"], missed = dataclasses.asdict(found), found.missed
        print("\n".join(("", *loading(found))), flush=True)
    if options.only != "load":
        from parity.bench import forward

        timings = forward.compare(python, options.rounds, options.threads, timeout=options.worker_timeout)
        figures["forward"] = [dataclasses.asdict(timing) for timing in timings]
        print("\n".join(("", *passes(timings))))
    if options.json:
        write_text(options.json, json.dumps(figures, indent=1) + "\n")
    for goal in missed:
        print(f"missed: {goal}", file=sys.stderr)
    return 1 if missed else 0


def surroundings(threads: int, rounds: int) -> dict[str, object]:
    """What the figures depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _processor(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": threads,
        "rounds": rounds,
    }


def header(threads: int, rounds: int) -> str:
    """One line on date, machine and manner."""
    at = surroundings(threads, rounds)
    return (
        f"{at['date']}, {at['cores']} cores of {at['machine']} (load average {at['load_average']} at the start), "
        f"torch {at['torch']}, float32, {threads} thread(s) a side, median of {rounds} rounds in turn"
    )


def loading(found: "Loading") -> Iterator[str]:
    """The table about `sam_vit_h`."""
    from parity.bench.load import GOALS

    yield f"| `sam_vit_h`, a file of {found.file_bytes / 1e9:.2f} GB | segment_anything | samblocks | ratio | goal |"
    yield "|---|---|---|---|---|"
    yield (
        f"| load, every page of every parameter read | {found.upstream:.2f} s | {found.ours:.2f} s "
        f"| {found.ratio:.1f} times faster | {GOALS['speed']:.0f} |"
    )
    yield (
        f"| its peak memory, by the file's size | {found.upstream_peak:.2f} "
        f"| {found.peak:.2f} (not backed by the file: {found.private:.3f}) | | {GOALS['memory']} |"
    )
    yield f"| `convert --to transformers` | - | {found.convert:.1f} s | | |"
    yield f"| its peak memory, by the file's size | - | {found.convert_peak:.2f} | | {GOALS['memory']} |"
    yield (
        f"| `inspect` | - | {found.inspect:.2f} s ({found.inspect_processor:.2f} s of processor time) | "
        f"| {GOALS['inspect']:.0f} s |"
    )


def passes(timings: "list[Timing]") -> Iterator[str]:
    """The table about forward passes."""
    yield (
        "| forward pass | Meta's code | samblocks | Meta's time by ours (lowest, highest round) "
        "| Meta's peak memory by ours |"
    )
    yield "|---|---|---|---|---|"
    for timing in timings:
        yield (
            f"| {timing.name} | {timing.upstream:.2f} s | {timing.ours:.2f} s "
            f"| {timing.ratio:.2f} ({timing.low:.2f}, {timing.high:.2f}) | {timing.memory:.2f} |"
        )


def _processor() -> str:
    """What the processor calls itself."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
