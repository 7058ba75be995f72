"""Engines beside eager, for one model: time, memory, set-up, and what becomes of masks. Runs where the runtimes are.

A program of its own, so that memory is measured in a fresh process: it takes a job as JSON and prints a row a line.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from parity.bench.memory import measured
from parity.execution.fill import fill_
from samblocks import ImagePredictor, SamblocksError, accelerate, load
from samblocks.engines.report import EngineReport
from samblocks.engines.verify import EngineVerdict, Outputs, Run, in_eager, judged, outputs_of, varied
from samblocks.models.build import assemble
from samblocks.swap.short_drive import Drive, as_images, short_drive

ENGINES = (
    ("openvino", "f32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnxruntime", "f32"),
    ("onnxruntime", "int8"),
    ("compile", "f32"),
)
"""Backends and precisions, in the order of the table."""


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Args:
        model: a variant, whose weights are filled, or a checkpoint's path or name.
        filled: whether it is a variant.
        pictures: paths.
        engines: pairs of backend and precision.
        side: of the model's images; None for its own.
        rounds: how often each side is timed, in turn.
        threads: of the process.
    """

    model: str
    filled: bool
    pictures: list[str]
    engines: list[tuple[str, str]]
    side: int | None
    rounds: int
    threads: int


@dataclass
class Row:
    """A line of the table; seconds are medians, memory is what a call takes beyond what was there before.

    Args:
        model: as in the job.
        engine: backend and precision; "eager f32" is the first row.
        missing: why it did not run; empty where it did.
        setup: seconds until it was compiled.
        encode: seconds for a picture.
        decode: seconds for a click.
        speed: eager's seconds for picture and click, over the engine's, the median of rounds in turn.
        memory: bytes for a picture and a click.
        figures: as of `EngineVerdict`, over all pictures.
    """

    model: str
    engine: str
    missing: str = ""
    setup: float = 0.0
    encode: float = 0.0
    decode: float = 0.0
    speed: float = 1.0
    memory: float = 0.0
    figures: dict[str, Any] | None = None


def rows(job: Job) -> Iterator[Row]:
    """Measure; the first row is eager."""
    torch.set_num_threads(job.threads)
    model = _model(job)
    drive = short_drive(model, scores=True)
    if drive is None:
        raise SamblocksError(f"{job.model} has no way of its own from a picture to masks")
    predictor = ImagePredictor(model)
    picture = job.pictures[0]
    first = measured(lambda: _timed(predictor, picture))
    eager = Row(job.model, "eager f32", memory=first["peak"])
    eager.encode, eager.decode = _medians([_timed(predictor, picture) for _ in range(job.rounds)])
    yield eager
    images = [as_images(path, model) for path in job.pictures]
    plain = _Plain(drive, model, images)
    for backend, precision in job.engines:
        yield _row(job, model, predictor, backend, precision, plain)


class _Plain:
    """What eager gives for pictures and their further draws, computed once for all engines.

    Args:
        drive: the model's way from pictures to masks.
        model: the model.
        images: the pictures, each [1, 3, S, S].
    """

    def __init__(self, drive: Drive, model: nn.Module, images: Sequence[Tensor]) -> None:
        self._drive, self._model, self._images = drive, model, images
        self._kept: dict[tuple[int, int], tuple[Outputs, Outputs, Outputs]] = {}

    def judged(self, report: EngineReport, precision: str) -> EngineVerdict:
        """The verdict on the engine of a report, over all pictures."""
        with torch.no_grad():
            outputs = [
                row
                for place in range(len(self._images))
                for row in judged(self._run(report, place, 0), partial(self._run, report, place), precision)
            ]
        return EngineVerdict(tuple(outputs), precision, 0.95)

    def _run(self, report: EngineReport, place: int, draw: int) -> Run:
        x = varied(self._images[place], draw) if draw else self._images[place]
        report.apply()
        engine = outputs_of(self._drive(self._model, x))
        report.undo()
        if (place, draw) not in self._kept:
            self._kept[place, draw] = in_eager(self._drive, self._model, x)
        return engine, *self._kept[place, draw]


def _row(
    job: Job, model: nn.Module, predictor: ImagePredictor, backend: str, precision: str, plain: _Plain
) -> Row:
    row = Row(job.model, f"{backend} {precision}")
    calibration = job.pictures if precision == "int8" else None
    start = perf_counter()
    try:
        report = accelerate(model, backend, precision, calibration, cache=False, impact=False)
    except SamblocksError as error:
        row.missing = str(error)
        return row
    row.setup = perf_counter() - start
    with report:
        row.memory = measured(lambda: _timed(predictor, job.pictures[0]))["peak"]
        here, there = [], []
        for _ in range(job.rounds):
            here.append(_timed(predictor, job.pictures[0]))
            report.undo()
            there.append(_timed(predictor, job.pictures[0]))
            report.apply()
        row.encode, row.decode = _medians(here)
        row.speed = median(sum(b) / sum(a) for a, b in zip(here, there, strict=True))
        verdict = plain.judged(report, precision).to_dict()
    del verdict["outputs"], verdict["not_run"]
    row.figures = verdict
    return row


def _model(job: Job) -> nn.Module:
    if not job.filled:
        return load(job.model, image_size=job.side)
    return fill_(assemble(job.model, image_size=job.side)).eval()


def _timed(predictor: ImagePredictor, picture: str) -> tuple[float, float]:
    """Seconds for a picture and for a click on it."""
    with torch.no_grad():
        start = perf_counter()
        predictor.set_image(picture)
        between = perf_counter()
        predictor.predict(point_coords=[[200, 200]], point_labels=[1])
        return between - start, perf_counter() - between


def _medians(times: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return median(a for a, _ in times), median(b for _, b in times)


def main(arguments: Sequence[str]) -> int:
    """Do the job in a file and print its rows."""
    job = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    job["engines"] = [tuple(pair) for pair in job["engines"]]
    try:
        for row in rows(Job(**job)):
            print(json.dumps(asdict(row)), flush=True)
    except SamblocksError as error:
        print(json.dumps({"failed": str(error)}), flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
