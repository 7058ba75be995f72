"""Running other libraries' drivers with our blocks swapped in: each library in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from parity import package
from parity.errors import WorkerError
from parity.workers.process import TIMEOUT, Process

HOSTS = {
    "ultralytics": ("parity.references.hosts.drivers_ultralytics", ""),
    "sam2": ("parity.references.hosts.drivers_meta", "SAM2"),
    "segment_anything": ("parity.references.hosts.drivers_meta", "SamPredictor"),
    "transformers": ("parity.references.hosts.drivers_transformers", ""),
}
"""Library → the file with its drivers, and how their names begin in it."""

_ENTRY = "parity.references.hosts.serve:serve"


def drive(
    host: str,
    python: Path,
    *,
    size: int = 256,
    repeats: int = 3,
    threads: int = 1,
    only: str = "",
    paths: str = "usual",
    trust: str = "code",
    timeout: float = TIMEOUT,
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
        trust: what classes are known by.
        timeout: seconds that each step of its start may take.

    Yields:
        What `parity.references.hosts.measure` found, driver by driver. Where the process ends too soon, the last
        row says so under `failures`.
    """
    module, prefix = HOSTS[host]
    packages = {"samblocks": package.ROOT / "samblocks"}
    arguments = {
        "module": module,
        "size": size,
        "repeats": repeats,
        "threads": threads,
        "only": only,
        "prefix": prefix,
        "paths": paths,
        "trust": trust,
    }
    try:
        with Process(host, python, _ENTRY, arguments, packages=packages, timeout=timeout) as process:
            for message in process.stream("its drivers"):
                yield message["row"]
    except WorkerError as error:
        yield {"library": host, "driver": "(all)", "failures": [str(error)]}


def digests(libraries: Sequence[str], python: Path, timeout: float = TIMEOUT) -> Iterator[dict[str, Any]]:
    """The code of libraries, class by class.

    Args:
        libraries: keys of `HOSTS`.
        python: the interpreter of the references' environment.
        timeout: seconds that each step of its start may take.

    Yields:
        For each library its version and the digests of its classes.
    """
    packages = {"samblocks": package.ROOT / "samblocks"}
    entry = "parity.references.hosts.code:serve"
    arguments = {"packages": list(libraries)}
    with Process("code", python, entry, arguments, packages=packages, timeout=timeout) as process:
        for message in process.stream("its code"):
            yield message["row"]
