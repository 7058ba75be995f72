"""Graphs in OpenVINO, on the processor."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from samblocks.engines.parts import Graph
from samblocks.engines.settings import Settings, require
from samblocks.engines.tables import constant_tables

_DTYPES = {"f32": "f32", "bf16": "bf16", "int8": "f32"}
"""What computes where nothing is quantized. Left alone, OpenVINO takes bfloat16 wherever the processor has it."""


class OpenVinoRunner:
    """A compiled graph; each thread has a request of its own."""

    def __init__(self, compiled: Any) -> None:
        self._compiled, self._local = compiled, threading.local()

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Run it. The results have memory of their own."""
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._compiled.create_infer_request()
        arrays = [tensor.detach().contiguous().numpy() for tensor in tensors]
        found = request.infer(arrays, share_inputs=True, share_outputs=False)
        return [torch.from_numpy(found[place]) for place in range(len(found))]


def convert(graph: Graph, example: tuple[Tensor, ...]) -> Any:
    """A graph of torch's as one of OpenVINO's, in float32, with the free axes free."""
    openvino = require("openvino", "openvino")
    shapes = [
        openvino.PartialShape([-1 if axis in axes else size for axis, size in enumerate(x.shape)])
        for x, axes in zip(example, graph.inputs.values(), strict=True)
    ]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes which are the same in every call become constants
        with constant_tables(graph, example):
            traced = torch.jit.trace(graph.module, example, check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(
            traced, example_input=example, input=[(shape, openvino.Type.f32) for shape in shapes]
        )
    for port, name in zip(model.inputs, graph.inputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(model.outputs, graph.outputs, strict=True):
        port.get_tensor().set_names({name})
    return model


def quantize(model: Any, samples: Sequence[tuple[Tensor, ...]], wide: Sequence[str]) -> Any:
    """A graph in int8, as far as nncf quantizes; ranges from samples.

    Args:
        model: of OpenVINO's.
        samples: what goes through it.
        wide: paths, within the graph's module, of modules that stay in float32.
    """
    nncf = require("nncf", "openvino")
    scope = nncf.IgnoredScope(patterns=[rf".*\.{_escaped(path)}[./].*" for path in wide], validate=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nncf.quantize(
            model,
            nncf.Dataset([[x.numpy() for x in sample] for sample in samples]),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=scope if wide else None,
        )


def compiled(model: Any, settings: Settings) -> OpenVinoRunner:
    """A graph of OpenVINO's, ready to run."""
    openvino = require("openvino", "openvino")
    return OpenVinoRunner(openvino.Core().compile_model(model, "CPU", _options(settings)))


def to_bytes(runner: OpenVinoRunner) -> bytes:
    """A compiled graph for a file."""
    stream = io.BytesIO()
    runner._compiled.export_model(stream)
    return stream.getvalue()


def from_bytes(blob: bytes, settings: Settings) -> OpenVinoRunner:
    """A compiled graph from a file."""
    openvino = require("openvino", "openvino")
    return OpenVinoRunner(openvino.Core().import_model(io.BytesIO(blob), "CPU", _options(settings)))


def device() -> str:
    """What the processor is called: compiled graphs are for it."""
    openvino = require("openvino", "openvino")
    return str(openvino.Core().get_property("CPU", "FULL_DEVICE_NAME"))


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": _DTYPES[settings.precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }


def _escaped(path: str) -> str:
    return path.replace(".", r"\.")
