"""A contestant's process: it makes one row's work, sets it up, and measures calls when it is told to."""

import importlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from parity.bench import rows
from parity.bench.memory import measured
from parity.bench.rows import Row
from parity.bench.works import Graph, Inputs, Loop
from parity.execution import devices
from parity.execution.case import Case, Library
from parity.execution.execute import flatten, prepare
from parity.execution.large_cases import give_back
from parity.workers.protocol import requests, send
from samblocks.numerics.float64 import WAYS

SAMPLED = 1 << 16
"""Values of each output that are compared: evenly spaced, the same on every side."""


def serve(
    incoming: BinaryIO,
    outgoing: BinaryIO,
    row: str,
    size: int,
    threads: int,
    module: str,
    engine: str,
    precision: str,
    device: str,
    converted: str | None,
) -> None:
    """Answer requests: `set up` makes the first call, `measure` a further one.

    Args:
        incoming: the pipe that requests come from.
        outgoing: the pipe that answers go to.
        row: the row's name.
        size: side of the whole bench's images.
        threads: number of threads that torch, or the runtime, may use.
        module: the module whose `library()` is timed.
        engine: the module that runs it.
        precision: of weights and inputs.
        device: where to.
        converted: the file that was made for the engine; None where it takes the library's code.
    """
    _first_to_go()
    torch.set_num_threads(threads)
    devices.in_full_precision(device)
    made = _Contest(rows.find(row), size, threads, module, engine, precision, device, converted)
    send(outgoing, {"status": "ready"})
    for asked, _ in requests(incoming):
        try:
            with torch.inference_mode(False), torch.no_grad():
                figures, tensors = made.set_up() if asked.get("set up") else (made.measure(), {})
        except Exception as error:
            name = (
                "" if type(error).__name__ in ("NoCounterpart", "UnavailableError") else type(error).__name__
            )
            send(outgoing, {"status": "raised", "message": f"{name}: {error}".removeprefix(": ")})
        else:
            send(outgoing, {"status": "ok", **figures}, tensors)


class _Contest:
    """One row's work on one side."""

    def __init__(
        self,
        row: Row,
        size: int,
        threads: int,
        module: str,
        engine: str,
        precision: str,
        device: str,
        converted: str | None,
    ) -> None:
        self._row, self._side, self._threads = row, row.side(size), threads
        self._module, self._engine = module, engine
        self._dtype: torch.dtype = getattr(torch, precision)
        self._precision, self._device, self._converted = precision, torch.device(device), converted
        self._run: Callable[[], Any] = lambda: None

    def set_up(self) -> tuple[dict[str, float], dict[str, Tensor]]:
        """From the library's filled model, or the converted file, to the end of the first call.

        Returns:
            Seconds, and what lay in memory at most; and samples of the results.
        """
        engine: Any = importlib.import_module(self._engine)
        if self._converted is not None:
            inputs = graph_of(self._row).inputs(self._side)
            file = Path(self._converted)

            def first() -> Any:
                self._run = engine.ready(file, inputs, self._threads, precision=self._precision)
                return self._run()
        else:
            library: Library = importlib.import_module(self._module).library()
            make = getattr(engine, "model", None)
            model = (
                make(self._row.variant, self._side)
                if make
                else filled(library, self._row, self._side, self._dtype)
            )
            model.to(self._device)
            if isinstance(self._row.work, Graph):
                work: Any = self._row.work.module(model).eval()
                inputs = as_given(self._row.work.inputs(self._side), self._dtype, self._device)
            else:
                work, inputs = self._row.work.call(library, model, self._side), {}
            del model

            def first() -> Any:
                self._run = engine.ready(work, inputs, self._threads)
                return self._run()

        give_back()
        results: list[Any] = []
        figures = self._measured(lambda: results.append(first()))
        return figures, sampled(results.pop()) if self._row.judged else {}

    def measure(self) -> dict[str, float]:
        """One call."""
        give_back()  # so that the peak is the call's own
        return self._measured(self._run)

    def _measured(self, call: Callable[[], object]) -> dict[str, float]:
        if self._device.type == "cpu":
            return measured(call)
        accelerator = getattr(torch, self._device.type)

        def to_the_end() -> object:
            result = call()
            accelerator.synchronize()
            return result

        accelerator.synchronize()
        if self._device.type != "cuda":
            return measured(to_the_end)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        found = measured(to_the_end)
        highest = torch.cuda.max_memory_allocated()
        return {**found, "peak": highest - before, "highest": torch.cuda.max_memory_reserved()}


def case_of(row: Row, side: int) -> Case:
    """The row's whole model as a case, whose weights follow from names."""
    block = "SAM2Model" if "hiera" in row.variant else "SAMModel"
    return Case(block=block, name="bench", why="it is timed", variant=row.variant, image_size=side)


def filled(library: Library, row: Row, side: int, dtype: torch.dtype, *, lift: bool = False) -> nn.Module:
    """The row's whole model, filled."""
    return prepare(case_of(row, side), library, dtype=dtype, lift=lift)[0].eval()


def graph_of(row: Row) -> Graph:
    """The row's work, which must be a graph."""
    if not isinstance(row.work, Graph):
        raise TypeError(f"{row.name} is no graph")
    return row.work


def as_given(inputs: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device) -> Inputs:
    """Inputs in a precision, where they are used; places in the image are never rounded to fewer bits than float32."""

    def kind(name: str, value: Tensor) -> torch.dtype:
        if not value.is_floating_point():
            return value.dtype
        return torch.promote_types(dtype, torch.float32) if name == "points" else dtype

    return {name: value.to(device, kind(name, value)) for name, value in inputs.items()}


def sampled(result: Any) -> dict[str, Tensor]:
    """Values of each output in float64, evenly spaced."""
    found = {}
    for number, (_, value) in enumerate(flatten(result)):
        flat = value.detach().reshape(-1)
        found[str(number)] = flat[:: max(1, -(-flat.numel() // SAMPLED))].to("cpu", torch.float64)
    return found


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What is done once for a row, in a process of its own: `convert` its graph, or compute its `truth`."""
    _first_to_go()
    torch.set_num_threads(request["threads"])
    row = rows.find(request["row"])
    side = row.side(request["size"])
    library: Library = importlib.import_module(request["module"]).library()
    with torch.no_grad():
        if request["task"] == "convert":
            return _convert(request, row, library, side), {}
        return {}, _truth(row, library, side)


def _convert(request: Mapping[str, Any], row: Row, library: Library, side: int) -> dict[str, Any]:
    graph, engine = graph_of(row), importlib.import_module(request["engine"])
    module = graph.module(filled(library, row, side, torch.float32)).eval()
    inputs = graph.inputs(side)
    files: list[Path] = []
    figures = measured(lambda: files.append(engine.convert(module, inputs, Path(request["folder"]))))
    return {"file": str(files[0]), "seconds": figures["seconds"]}


def _truth(row: Row, library: Library, side: int) -> dict[str, Tensor]:
    """What the library's own code gives, run in float64 throughout."""
    model = filled(library, row, side, torch.float64, lift=True)
    if isinstance(row.work, Loop):
        with WAYS["lifted"]():
            return sampled(row.work.call(library, model, side)())
    module = row.work.module(model).eval()
    inputs = as_given(row.work.inputs(side), torch.float64, torch.device("cpu"))
    with WAYS["lifted"]():
        return sampled(module(*inputs.values()))


def _first_to_go() -> None:
    """Where memory runs out, the system ends this process rather than anybody else's."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("900", encoding="ascii")
