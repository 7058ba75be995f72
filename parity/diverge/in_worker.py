"""The worker's side of `parity diverge`: record upstream's run call by call into a folder that both sides read.

Two requests: `do: run` records and judges a case, `do: within` looks into one of its calls.
"""

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from parity.diverge.store import Store
from parity.diverge.subjects import find
from parity.diverge.upstream import Upstream
from parity.execution.case import Library, NoCounterpart
from parity.execution.execute import call, prepare

_current: dict[str, Upstream] = {}
"""The case recorded last, by its folder: looking into it needs its modules."""


def answer(request: Mapping[str, Any], inputs: Mapping[str, Tensor], library: Library) -> dict[str, Any]:
    """Answer one request.

    Args:
        request: `do`; for "run" also `case`, `folder` and `weights` (a file or None); for "within" `index`.
        inputs: the case's inputs.
        library: the reference.

    Returns:
        `status` as for other requests, and the trace or the calls as plain data.
    """
    try:
        if request["do"] == "within":
            (upstream,) = _current.values()
            return {"status": "ok", "calls": [inner.as_json() for inner in upstream.within(request["index"])]}
        return {"status": "ok", "trace": _record(request, inputs, library)}
    except NoCounterpart as missing:
        return {"status": "no counterpart", "message": str(missing)}
    except Exception as error:
        trace = traceback.format_exc(limit=-4)
        return {"status": "raised", "message": f"{type(error).__name__}: {error}", "trace": trace}


def _record(request: Mapping[str, Any], inputs: Mapping[str, Tensor], library: Library) -> dict[str, Any]:
    case = find(request["case"])
    weights = safetensors.torch.load_file(request["weights"]) if request.get("weights") else None

    def run(module: nn.Module, dtype: torch.dtype) -> object:
        return call(case, library, module, inputs, dtype)

    narrow, _ = prepare(case, library, weights=weights)
    wide, _ = prepare(case, library, lift=True, weights=weights)
    upstream = Upstream(narrow, wide, run, Store(Path(request["folder"])), library.canonical)
    _current.clear()
    _current[request["folder"]] = upstream
    return upstream.trace().as_json()
