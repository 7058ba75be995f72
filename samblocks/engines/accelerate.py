"""`accelerate`: the slow parts of a live model run in an engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from samblocks.engines import blobs, inductor, onnx_files, onnxruntime, openvino, recipes
from samblocks.engines.attached import Attached, Runner
from samblocks.engines.finding import parts_of
from samblocks.engines.fingerprint import fingerprint
from samblocks.engines.parts import Graph, Part
from samblocks.engines.report import IMPACT, EngineReport, EngineRow
from samblocks.engines.samples import Samples, doubled, record
from samblocks.engines.settings import Settings, checked, require
from samblocks.errors import EngineError, cause
from samblocks.predict.arguments import flag
from samblocks.swap.verify import evaluating


def accelerate(
    model: nn.Module,
    backend: str = "openvino",
    precision: str = "f32",
    calibration: Sequence[Any] | None = None,
    cache: str | os.PathLike[str] | bool | None = None,
    *,
    recipe: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    impact: bool = True,
) -> EngineReport:
    """Let the slow parts of a model run in an engine: image encoder, mask decoder, memory attention, memory encoder.

    Everything else and every call stay: the same module objects with the same weights, so that predictors, and hosts
    with our modules in them, do not notice. Any number of prompts, objects, memories and pointers goes through the
    engine; another size of images, training, recorded gradients, hooks, autocast and other devices run in eager, and
    so does everything after weights were changed: `report.calls` counts both. The engine has as many threads as torch
    has when it is made.

    Args:
        model: a model of ours, or another library's with our modules in it (`swap_blocks`).
        backend: "openvino", "onnxruntime" or "compile" (torch's own compiler).
        precision: "f32", "bf16" (OpenVINO) or "int8" (not "compile"). The engine is told, and never chooses.
        calibration: for "int8", pictures (paths, arrays, PIL pictures) like those to come.
        cache: a folder where compiled graphs are kept; False for none, None for the usual one.
        recipe: for "int8", which modules stay in float32: a file that `parity sensitivity` wrote, or what is in it.
        impact: for "int8", see at once what it does to the first calibration picture; a line on standard error and
            the report say it.

    Returns:
        The report, with `undo()` and `verify(picture)`; a context manager that undoes it at its end.

    Raises:
        ValueError: an unknown backend, a precision that it has not, int8 without pictures, or an argument of another
            kind.
        EngineError: a runtime is missing, nothing in the model can run in an engine, it does already, or a
            conversion failed. The model is as it was then.

    Examples:
        >>> accelerate(nn.Linear(2, 2), "compile")
        Traceback (most recent call last):
        ...
        samblocks.errors.EngineError: a Linear holds no module of samblocks that runs in an engine: give a model of \
samblocks, or swap blocks into another library's first
    """
    checked(backend, precision, calibration, cache)
    impact = flag(impact, "impact")
    wide = recipes.wide_modules(recipe, precision)
    folder = cache if isinstance(cache, bool) or cache is None else Path(cache)
    settings = Settings(backend, precision, tuple(calibration or ()), folder, wide)
    parts = parts_of(model)
    if not parts:
        raise EngineError(
            f"a {type(model).__name__} holds no module of samblocks that runs in an engine: give a model of samblocks, "
            "or swap blocks into another library's first"
        )
    for part in parts:
        if vars(part.module).get("_compiled_call_impl") is not None:
            raise EngineError(f"{part.path} is compiled, or runs in an engine already: undo that first")
        refuse_unless_float32(part)
    recipes.check(wide, model)
    with evaluating(model):
        samples = record(model, parts, settings.calibration)
        made = [_converted(part, samples, settings) for part in parts]
    report = EngineReport(
        model, settings, [row for _, rows in made for row in rows], [one for one, _ in made]
    )
    report.apply()
    if impact and precision == "int8":
        try:
            report.impact = report.verify(settings.calibration[0])
        except BaseException:
            report.undo()
            raise
        print(f"samblocks: {settings.name} {IMPACT}: {report.impact.summary()}", file=sys.stderr)
    return report


def refuse_unless_float32(part: Part) -> None:
    """Refuse what a runtime is not given: weights in another dtype, or elsewhere than on the processor.

    Raises:
        EngineError: the part has such weights.
    """
    others = {x.dtype for x in part.module.parameters()} - {torch.float32}
    if others:
        raise EngineError(
            f"{part.path} has weights in {others.pop()}: engines take float32, call .float() first"
        )
    if any(x.device.type != "cpu" for x in part.module.parameters()):
        raise EngineError(f"{part.path} is not on the processor, where these engines run: call .cpu() first")


def _converted(part: Part, samples: Samples, settings: Settings) -> tuple[Attached, list[EngineRow]]:
    """A part with its graphs compiled, not yet attached."""
    runners: dict[str, Runner] = {}
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    rows = []
    for name, graph in part.graphs.items():
        start = perf_counter()
        example = doubled(part, name, samples[name][0])
        try:
            runners[name], cached = compile_graph(part, graph, example, samples[name], settings)
        except (EngineError, ValueError):
            raise
        except Exception as error:  # whatever a converter may raise
            raise EngineError(
                f"{settings.backend} cannot take {part.path} ({graph.name}): {cause(error)}; the model is as it was"
            ) from error
        shapes[name] = tuple(tuple(x.shape) for x in example)
        kind = f"{type(part.module).__module__}.{type(part.module).__qualname__}"
        rows.append(EngineRow(part.path, name, kind, settings.name, perf_counter() - start, cached))
    return Attached(part, runners, shapes), rows


def compile_graph(
    part: Part,
    graph: Graph,
    example: tuple[Tensor, ...],
    samples: Sequence[tuple[Tensor, ...]],
    settings: Settings,
) -> tuple[Runner, bool]:
    """A graph, ready to run, and whether it was found compiled.

    Args:
        part: what it belongs to.
        graph: the graph.
        example: tensors to trace it with.
        samples: tensors to calibrate it with.
        settings: what was asked for.
    """
    if settings.backend == "compile":
        return inductor.compiled(graph, example), False
    path, key = _place(part, graph, example, samples, settings)
    blob = blobs.kept(path, key)
    names = list(graph.inputs)
    wide = within(part, settings.wide)
    if settings.backend == "onnxruntime":
        found = blob
        if found is None:
            found = onnx_files.convert(graph, example)
            if settings.precision == "int8":
                found = onnx_files.quantize(found, names, samples, wide)
            _keep(path, key, found)
        return onnxruntime.compiled(found, names), blob is not None
    if blob is not None:
        return openvino.from_bytes(blob, settings), True
    model = openvino.convert(graph, example)
    if settings.precision == "int8":
        model = openvino.quantize(model, samples, wide)
    runner = openvino.compiled(model, settings)
    if path is not None:
        _keep(path, key, openvino.to_bytes(runner))
    return runner, False


def within(part: Part, paths: Sequence[str]) -> list[str]:
    """Paths of modules of the model as paths in a graph of the part, as far as they are in it."""
    start = f"{part.path}." if part.path else ""
    inside = [path.removeprefix(start) for path in paths if path.startswith(start)]
    return [f"part.{path}" for path in inside] + ["part" for path in paths if path == part.path]


def _place(
    part: Part,
    graph: Graph,
    example: tuple[Tensor, ...],
    samples: Sequence[tuple[Tensor, ...]],
    settings: Settings,
) -> tuple[Path | None, str]:
    """Where a compiled graph is kept, and the fingerprint of what it is made of."""
    if settings.cache is False:
        return None, ""
    package = require(settings.backend, settings.backend)
    more: dict[str, Any] = {
        "backend": settings.backend,
        "version": package.__version__,
        "precision": settings.precision,
        "threads": torch.get_num_threads() if settings.backend == "openvino" else None,
        "device": openvino.device() if settings.backend == "openvino" else None,
        "graph": graph.name,
        "shapes": [tuple(x.shape) for x in example],
        "wide": sorted(settings.wide),
    }
    if settings.precision == "int8":
        more["samples"] = [fingerprint(_Held(sample)) for sample in samples]
        more["nncf"] = require("nncf", "openvino").__version__
    key = fingerprint(part.module, **more)
    folder = settings.cache if isinstance(settings.cache, Path) else blobs.usual_folder()
    return folder / f"{graph.name}-{settings.backend}-{settings.precision}-{key[:16]}.blob", key


class _Held(nn.Module):
    """Tensors as a module, for its hash."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        for place, tensor in enumerate(tensors):
            self.register_buffer(f"x{place}", tensor)


def _keep(path: Path | None, key: str, blob: bytes) -> None:
    """Keep a compiled graph, if there is a folder for it that can be written to."""
    if path is None:
        return
    try:
        blobs.write(path, key, blob)
    except OSError:
        return  # it runs all the same, and is made again the next time
