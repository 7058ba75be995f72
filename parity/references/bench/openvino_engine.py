"""OpenVINO on the processor: precision, threads and streams set, since its defaults take bfloat16 unasked."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from parity.errors import UnavailableError

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def convert(module: nn.Module, inputs: Mapping[str, Tensor], folder: Path) -> Path:
    """Convert a module that is called with these inputs; weights stay float32."""
    import openvino

    given = tuple(inputs.values())
    model = openvino.convert_model(module, example_input=given, input=[list(value.shape) for value in given])
    file = folder / "model.xml"
    openvino.save_model(model, file, compress_to_fp16=False)
    return file


def ready(
    file: Path, inputs: Mapping[str, Tensor], threads: int, *, precision: str = "float32"
) -> Callable[[], Any]:
    """A call of the converted module, compiled for the processor.

    Raises:
        UnavailableError: the processor or the runtime does not compute in this precision.
    """
    import openvino

    core = openvino.Core()
    if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UnavailableError("OpenVINO has no bfloat16 on this processor")
    compiled = core.compile_model(
        file,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    used = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if used != {"f32": "f32", "bf16": "bf16"}[_HINTS[precision]]:
        raise UnavailableError(f"OpenVINO computes in {used} where {_HINTS[precision]} was asked for")
    request = compiled.create_infer_request()
    given = [openvino.Tensor(value.contiguous().numpy(), shared_memory=True) for value in inputs.values()]

    def run() -> list[Tensor]:
        found = request.infer(given, share_inputs=True, share_outputs=True)
        return [torch.from_numpy(found[output]) for output in compiled.outputs]

    return run
