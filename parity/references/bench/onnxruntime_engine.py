"""ONNX Runtime on the processor: all graph optimizations, threads set, none of them spinning while it waits."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def convert(module: nn.Module, inputs: Mapping[str, Tensor], folder: Path) -> Path:
    """Export a module that is called with these inputs, by torch's exporter, or by its older one where that fails."""
    file, given = folder / "model.onnx", tuple(inputs.values())
    names = list(inputs)
    try:
        torch.onnx.export(
            module, given, file, input_names=names, dynamo=True, external_data=True, verbose=False
        )
    except Exception as first:
        for left in folder.glob("model.onnx*"):
            left.unlink()
        try:
            torch.onnx.export(module, given, str(file), input_names=names, dynamo=False, opset_version=17)
        except Exception as second:
            raise second from first
    return file


def ready(
    file: Path, inputs: Mapping[str, Tensor], threads: int, *, precision: str = "float32"
) -> Callable[[], Any]:
    """A call of the exported module."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    taken = {entry.name for entry in session.get_inputs()}
    given = {name: value.numpy() for name, value in inputs.items() if name in taken}

    def run() -> list[Tensor]:
        return [torch.from_numpy(value) for value in session.run(None, given)]

    return run
