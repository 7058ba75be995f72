"""One side of the forward benchmark: a process that times calls when it is told to."""

import importlib
from typing import Any, BinaryIO

import torch

from parity.bench.components import COMPONENTS
from parity.bench.memory import measured
from parity.execution.large_cases import give_back
from parity.workers.protocol import requests, send


def serve(incoming: BinaryIO, outgoing: BinaryIO, module: str, threads: int) -> None:
    """Answer requests: `make`, a component's number, makes it; without, one call of it is measured.

    Each answer holds `seconds`, and `peak`: the call's bytes at most beyond what was there.

    Args:
        incoming: the pipe that requests come from.
        outgoing: the pipe that answers go to.
        module: the module whose `library()` is timed.
        threads: number of threads that torch may use.
    """
    torch.set_num_threads(threads)
    library: Any = importlib.import_module(module).library()
    run: Any = None
    send(outgoing, {"status": "ready"})
    for asked, _ in requests(incoming):
        found = {"seconds": 0.0, "peak": 0.0}
        with torch.no_grad():
            if "make" in asked:
                run = None  # what was made before goes first
                run = COMPONENTS[asked["make"]].make(library)
                run()  # the first call fills caches
            else:
                give_back()  # so that the peak is the call's own
                found = measured(run)
        send(outgoing, {"status": "ok", **found})
