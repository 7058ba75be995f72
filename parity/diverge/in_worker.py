"""The worker's side of `parity diverge`: record upstream's run call by call into a folder that both sides read.

`do: run` records a case; `totals`, `truth`, `draw` and `within` are about the case recorded last, as the methods of
`Upstream` are.
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
        request: `do`; for "run" also `case`, `folder` and `weights` (a file or None); for "totals" `ours`; for the
            others `index`, and for "draw" `number`.
        inputs: the case's inputs.
        library: the reference.

    Returns:
        `status` as for other requests, and what was asked for as plain data.
    """
    try:
        if request["do"] == "run":
            return {"status": "ok", "trace": _record(request, inputs, library)}
        (upstream,) = _current.values()
        return {"status": "ok", **_answers(upstream, request)}
    except NoCounterpart as missing:
        return {"status": "no counterpart", "message": str(missing)}
    except Exception as error:
        trace = traceback.format_exc(limit=-4)
        return {"status": "raised", "message": f"{type(error).__name__}: {error}", "trace": trace}


def _answers(upstream: Upstream, request: Mapping[str, Any]) -> dict[str, Any]:
    if request["do"] == "totals":
        totals, note = upstream.totals({int(index): tree for index, tree in request["ours"].items()})
        return {"totals": {str(index): found for index, found in totals.items()}, "note": note}
    if request["do"] == "truth":
        tree, note = upstream.truth(request["index"])
        return {"truth": tree, "note": note}
    if request["do"] == "draw":
        found = upstream.draw(request["index"], request["number"])
        return {"draw": None if found is None else found.as_json()}
    return {"calls": [call.as_json() for call in upstream.within(request["index"])]}


def _record(request: Mapping[str, Any], inputs: Mapping[str, Tensor], library: Library) -> dict[str, Any]:
    case = find(request["case"])
    if case.steps:
        raise NoCounterpart(
            "it takes steps of an optimizer: no call can be made again on the weights that it had"
        )
    weights = safetensors.torch.load_file(request["weights"]) if request.get("weights") else None

    def run(module: nn.Module, dtype: torch.dtype) -> object:
        return call(case, library, module, inputs, dtype)

    narrow, _ = prepare(case, library, weights=weights)
    wide, _ = prepare(case, library, lift=True, weights=weights)
    upstream = Upstream(narrow, wide, run, Store(Path(request["folder"])), library.canonical)
    _current.clear()
    _current[request["folder"]] = upstream
    return upstream.trace().as_json()
