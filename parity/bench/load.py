"""How fast and how lean whole checkpoints are loaded, beside segment_anything's own build-and-load.

A `sam_vit_h` file of made-up weights is written; then, in turn and each in a fresh process, both sides build the
model and load it, until one number of every page of every parameter was read. The file is in the page cache by
then. Conversion and `inspect` of the same file are measured too.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from parity import package
from parity.bench.memory import measured
from parity.workers.one_request import ask
from parity.workers.process import TIMEOUT

VARIANT = "sam_vit_h"
PAGE = 1024
"""Floats on a page of memory."""

GOALS = {"speed": 8.0, "memory": 1.1, "inspect": 1.0}


@dataclass(frozen=True)
class Loading:
    """What was measured; memory as multiples of the file's size.

    Attributes:
        file_bytes: size of the file.
        upstream: median seconds of segment_anything's build and load.
        ours: median seconds of `samblocks.load`.
        ratio: median over the rounds of upstream's time by ours.
        upstream_peak: highest memory of upstream's process beyond what it had before, mapped pages counted.
        peak: ours.
        private: of ours, the part that no file backs.
        convert: seconds that the conversion to transformers' layout took.
        convert_peak: its memory.
        inspect: seconds that `inspect` took, by the clock.
        inspect_processor: seconds of the processor that it took: what the clock says where nothing else runs. The
            goal is held against these, because it is no ratio, and a busy machine would decide it.
    """

    file_bytes: int
    upstream: float
    ours: float
    ratio: float
    upstream_peak: float
    peak: float
    private: float
    convert: float
    convert_peak: float
    inspect: float
    inspect_processor: float

    @property
    def missed(self) -> list[str]:
        """The goals that were not reached."""
        return [
            name
            for name, good in (
                ("speed", self.ratio >= GOALS["speed"]),
                ("memory", max(self.peak, self.convert_peak) <= GOALS["memory"]),
                ("inspect", self.inspect_processor <= GOALS["inspect"]),
            )
            if not good
        ]


def compare(
    python: Path,
    rounds: int,
    threads: int,
    file: Path | None,
    folder: Path | None,
    *,
    timeout: float = TIMEOUT,
) -> Loading:
    """Measure both sides in turn.

    Args:
        python: the interpreter of the references' environment.
        rounds: times that each side loads.
        threads: threads of each side; the sides never run at once.
        file: a sam_vit_h checkpoint; None makes one up.
        folder: where the made-up file and the converted one go, 5 GB together; None takes the usual place.
        timeout: seconds that each step of a process's start may take.

    Raises:
        WorkerError: a side failed.
    """
    with tempfile.TemporaryDirectory(prefix="parity-bench-", dir=folder) as scratch:
        scratch = os.path.abspath(scratch)
        chosen = (file or _write(Path(scratch) / f"{VARIANT}.pth")).absolute()
        size = chosen.stat().st_size
        _read_once(chosen)
        theirs, ours = [], []
        for _ in range(rounds):
            request = {"file": str(chosen), "threads": threads}
            upstream = "parity.references.bench.load_whole"
            theirs.append(ask("segment_anything", python, upstream, request, timeout=timeout)[0])
            ours.append(_own("load", chosen, threads, scratch, timeout))
        convert = _own("convert", chosen, threads, scratch, timeout)
        inspect = _own("inspect", chosen, threads, scratch, timeout)
    return Loading(
        file_bytes=size,
        upstream=median(row["seconds"] for row in theirs),
        ours=median(row["seconds"] for row in ours),
        ratio=median(t["seconds"] / o["seconds"] for t, o in zip(theirs, ours, strict=True)),
        upstream_peak=max(row["peak"] for row in theirs) / size,
        peak=max(row["peak"] for row in ours) / size,
        private=max(row["anonymous"] for row in ours) / size,
        convert=convert["seconds"],
        convert_peak=convert["peak"] / size,
        inspect=inspect["seconds"],
        inspect_processor=inspect["processor"],
    )


def _write(path: Path) -> Path:
    """A checkpoint with values that follow from the names."""
    from samblocks.checkpoints.tensor_source import TensorSource
    from samblocks.checkpoints.writing.write import write
    from samblocks.layouts import meta_tensors
    from samblocks.variants import VARIANTS

    tensors = meta_tensors(VARIANTS[VARIANT])

    def get(name: str) -> Tensor:
        count = torch.Size(tensors[name].shape).numel()
        return (torch.arange(count) % (len(name) + 90)).float().div_(1000).reshape(tensors[name].shape)

    write(path, TensorSource(tensors, get))
    return path


def _read_once(file: Path) -> None:
    """Bring the file into the page cache."""
    with file.open("rb", buffering=0) as stream:
        while stream.read(2**24):
            pass


def _own(side: str, file: Path, threads: int, scratch: str, timeout: float) -> dict[str, float]:
    """Measure one of `SIDES` in a fresh process of this environment."""
    request = {"side": side, "file": str(file), "threads": threads, "scratch": scratch}
    ours = {"samblocks": package.ROOT / "samblocks"}
    python = Path(sys.executable)
    return ask("samblocks", python, __name__, request, packages=ours, timeout=timeout)[0]


def touch(parameters: Iterator[Any]) -> float:
    """Read one number of every page of every parameter."""
    return sum(float(parameter.detach().reshape(-1)[::PAGE].sum()) for parameter in parameters)


def _load(file: Path, scratch: Path) -> object:
    from samblocks.checkpoints import load

    model = load(file)
    touch(model.parameters())
    return model


def _convert(file: Path, scratch: Path) -> object:
    from samblocks.checkpoints import convert_file

    return convert_file(file, scratch / "converted.safetensors", to="transformers")


def _inspect(file: Path, scratch: Path) -> object:
    from samblocks.checkpoints import inspect

    return inspect(file)


SIDES: dict[str, Callable[[Path, Path], object]] = {
    "load": _load,
    "convert": _convert,
    "inspect": _inspect,
}


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Measure one of `SIDES`; the other side of `_own`."""
    from samblocks.checkpoints import convert_file, inspect, load  # noqa: F401 - importing is a row of its own

    torch.set_num_threads(request["threads"])
    run, file, scratch = SIDES[request["side"]], Path(request["file"]), Path(request["scratch"])
    return measured(lambda: run(file, scratch)), {}
