"""Graphs in ONNX Runtime, on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from samblocks.engines.settings import require
from samblocks.errors import EngineError


class OnnxRunner:
    """A session; threads may share it."""

    def __init__(self, session: Any, names: Sequence[str]) -> None:
        self._session = session
        used = {port.name for port in session.get_inputs()}
        unknown = sorted(used - {*names})
        if unknown:
            raise EngineError(f"the graph asks for {unknown[0]}, which is none of its part's inputs")
        self._names = [name if name in used else None for name in names]

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Run it. The results have memory of their own."""
        given = {
            name: tensor.detach().contiguous().numpy()
            for name, tensor in zip(self._names, tensors, strict=True)
            if name is not None
        }
        return [torch.from_numpy(found) for found in self._session.run(None, given)]


def compiled(model: bytes, names: Sequence[str]) -> OnnxRunner:
    """An ONNX file, ready to run with as many threads as torch has."""
    runtime = require("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return OnnxRunner(session, names)
