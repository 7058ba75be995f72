"""One side of the forward benchmark: a process that times calls when it is told to."""

import importlib
import sys
from typing import Any

import torch

from parity.bench.components import COMPONENTS
from parity.bench.memory import measured
from parity.execution.large_cases import give_back


def serve(module: str, threads: int) -> None:
    """Answer lines on standard input: a component's number makes it, `run` measures one call
    of it. Each answer is its seconds and its bytes at most beyond what was there.

    Args:
        module: the module whose `library()` is timed.
        threads: number of threads that torch may use.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(threads)
    library: Any = importlib.import_module(module).library()
    run: Any = None
    for line in sys.stdin:
        word, found = line.strip(), {"seconds": 0.0, "peak": 0.0}
        with torch.no_grad():
            if word == "run":
                give_back()  # so that the peak is the call's own
                found = measured(run)
            else:
                run = None  # what was made before goes first
                run = COMPONENTS[int(word)].make(library)
                run()  # the first call fills caches
        print(found["seconds"], found["peak"], file=answers, flush=True)
