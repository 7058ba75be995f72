"""What importing a package costs: seconds and memory beyond what torch and NumPy take, in fresh processes."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from torch import Tensor

from parity.bench.contestants import OURS, python_of
from parity.bench.measure import packages
from parity.bench.memory import measured
from parity.errors import WorkerError
from parity.workers.one_request import ask
from parity.workers.process import TIMEOUT

PACKAGES: Mapping[str, tuple[str, str]] = {
    "samblocks": ("own", "samblocks"),
    "samblocks, all of it": ("own", "samblocks.predict"),
    "segment_anything": ("references", "segment_anything"),
    "sam2": ("references", "sam2.build_sam"),
    "ultralytics": ("references", "ultralytics.models.sam"),
    "transformers": ("references", "transformers.models.sam2_video.modeling_sam2_video"),
}
"""What reports call it → the environment it is in, and the module that brings its models."""

_UPSTREAM = "parity.references.bench.import_whole"


def compare(rounds: int, references: Path | None, *, timeout: float = TIMEOUT) -> dict[str, dict[str, Any]]:
    """Import each package in turn, `rounds` times.

    Returns:
        By package the median `seconds` and `processor` seconds, and `memory` in bytes; or the `reason` why not.
    """
    samples: dict[str, list[Mapping[str, float]]] = {name: [] for name in PACKAGES}
    reasons: dict[str, str] = {}
    for _ in range(rounds):
        for name, (environment, module) in PACKAGES.items():
            python = python_of(environment, references, None)
            if isinstance(python, str):
                reasons[name] = python
                continue
            try:
                request = {"module": module}
                where = __name__ if environment == "own" else _UPSTREAM
                ours = packages(OURS if environment == "own" else name)
                samples[name].append(ask(name, python, where, request, packages=ours, timeout=timeout)[0])
            except WorkerError as error:
                reasons[name] = str(error)
    return {
        name: {
            "seconds": median(sample["seconds"] for sample in found),
            "processor": median(sample["processor"] for sample in found),
            "memory": median(sample["peak"] for sample in found),
        }
        if found and name not in reasons
        else {"reason": reasons[name]}
        for name, found in samples.items()
    }


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Import a module; the other side of `compare`."""
    return measured(lambda: importlib.import_module(request["module"])), {}
