"""One side of the forward benchmark: a process that times calls when it is told to."""

import importlib
import sys
import time
from typing import Any

import torch

from parity.bench.components import COMPONENTS


def serve(module: str, threads: int) -> None:
    """Answer lines on standard input: a component's number makes it, `run` times one call of it.

    Args:
        module: the module whose `library()` is timed.
        threads: number of threads that torch may use.
    """
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.set_num_threads(threads)
    library: Any = importlib.import_module(module).library()
    run: Any = None
    for line in sys.stdin:
        word, seconds = line.strip(), 0.0
        with torch.no_grad():
            if word == "run":
                start = time.perf_counter()
                run()
                seconds = time.perf_counter() - start
            else:
                run = COMPONENTS[int(word)].make(library)
                run()  # the first call fills caches
        print(seconds, file=answers, flush=True)
