"""Running other libraries' drivers with our blocks swapped in: each library in a process of its own."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import samblocks
from parity import package
from parity.workers import boot

HOSTS = {
    "ultralytics": ("parity.references.hosts.drivers_ultralytics", ""),
    "sam2": ("parity.references.hosts.drivers_meta", "SAM2"),
    "segment_anything": ("parity.references.hosts.drivers_meta", "SamPredictor"),
    "transformers": ("parity.references.hosts.drivers_transformers", ""),
}
"""Library → the file with its drivers, and how their names begin in it."""


def drive(
    host: str,
    python: Path,
    *,
    size: int = 256,
    repeats: int = 3,
    threads: int = 1,
    only: str = "",
    paths: str = "usual",
) -> Iterator[dict[str, Any]]:
    """Measure the drivers of one library.

    Args:
        host: a key of `HOSTS`.
        python: the interpreter of the references' environment.
        size: side of the models' images in pixels.
        repeats: how often each side is timed.
        threads: number of threads of the process.
        only: measure only drivers whose names hold this.
        paths: what ours may do, a key of `parity.execution.paths.PATHS`.

    Yields:
        What `parity.references.hosts.measure` found, driver by driver. Where the process ends too soon, the last
        row says so under `failures`.
    """
    module, prefix = HOSTS[host]
    folders = {"parity": package.FOLDER, "samblocks": Path(samblocks.__file__).parent}
    arguments = {
        "module": module,
        "size": size,
        "repeats": repeats,
        "threads": threads,
        "only": only,
        "prefix": prefix,
        "paths": paths,
    }
    with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
        log = Path(scratch) / "log"
        with (
            log.open("wb") as errors,
            subprocess.Popen(
                boot.command(python, folders, "parity.references.hosts.serve:serve", arguments),
                stdout=subprocess.PIPE,
                stderr=errors,
                env=boot.environment(scratch, TQDM_DISABLE="1"),
                text=True,
                encoding="utf-8",
            ) as process,
        ):
            for line in process.stdout or ():
                yield json.loads(line)
        if process.returncode:
            words = log.read_text(errors="replace").strip().splitlines()
            yield {
                "library": host,
                "driver": "(all)",
                "failures": [f"its process ended with {process.returncode}: {words[-1] if words else ''}"],
            }
