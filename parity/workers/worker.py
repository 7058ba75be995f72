"""The worker's loop: take a case, inputs and a precision; run them on one upstream library; send the outputs."""

import importlib
import traceback
from contextlib import suppress
from importlib import metadata
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor

from parity.cases import find
from parity.execution import devices
from parity.execution.case import Library, NoCounterpart
from parity.execution.execute import execute
from parity.execution.large_cases import room_for
from parity.workers.protocol import requests, send
from samblocks.numerics.matmul import matmul_error


def serve(incoming: BinaryIO, outgoing: BinaryIO, module: str, packages: list[str], threads: int) -> None:
    """Answer requests for as long as there is somebody who asks.

    Args:
        incoming: the pipe that requests come from.
        outgoing: the pipe that answers go to.
        module: the module that has `library()`, the upstream library in the reference page's terms.
        packages: distributions whose versions are reported.
        threads: number of threads torch may use.
    """
    torch.set_num_threads(threads)
    try:
        library: Library = importlib.import_module(module).library()
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        send(outgoing, {"status": "unavailable", "message": message, "installed": _installed(packages)})
        return
    versions = {name: metadata.version(name) for name in [*packages, "torch"]}
    send(outgoing, {"status": "ready", "versions": versions, "matmul_error": matmul_error()})
    for request, inputs in requests(incoming):
        header, outputs = _answer(request, inputs, library)
        send(outgoing, header, outputs)


def _installed(packages: list[str]) -> bool:
    with suppress(metadata.PackageNotFoundError):
        return bool([metadata.version(name) for name in packages])
    return False


def _answer(
    request: dict[str, Any], inputs: dict[str, Tensor], library: Library
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if "module" in request:  # a request of another wing, which names what answers it: see `Client.ask`
        answer = importlib.import_module(request["module"]).answer
        return answer(request, inputs, library), {}
    for name in request.get("channels_last", ()):
        inputs[name] = inputs[name].contiguous(memory_format=torch.channels_last)
    try:
        weights = safetensors.torch.load_file(request["weights"]) if request.get("weights") else None
        case = find(request["case"])
        devices.in_full_precision(request["device"])
        with room_for(case):
            outcome = execute(
                case,
                library,
                inputs,
                dtype=getattr(torch, request["dtype"]),
                autocast=getattr(torch, request["autocast"]) if request["autocast"] else None,
                lift=request["lift"],
                weights=weights,
                device=request["device"],
            )
    except NoCounterpart as missing:
        return {"status": "no counterpart", "message": str(missing)}, {}
    except Exception as error:
        trace = traceback.format_exc(limit=-4)
        return {"status": "raised", "message": f"{type(error).__name__}: {error}", "trace": trace}, {}
    return {"status": "ok", "state": outcome.state}, outcome.outputs
