"""Start the workers of several references, and say of each that does not start why not."""

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from parity.errors import WorkerError
from parity.execution import personalities
from parity.workers.client import Client, interpreter
from parity.workers.process import TIMEOUT
from parity.workers.registry import REFERENCES


def start_clients(
    names: Sequence[str],
    folder: Path | None,
    stack: ExitStack,
    *,
    timeout: float = TIMEOUT,
    variables: Mapping[str, str] | None = None,
) -> tuple[list[Client], dict[str, str]]:
    """Start the workers; returns those that run, and for each that does not the reason.

    Args:
        names: the references' names.
        folder: their environment; None for the usual place.
        stack: what ends the workers.
        timeout: seconds that each step of a worker's start may take.
        variables: further environment variables of theirs, such as those of a personality.
    """
    python = interpreter(folder)
    if python is None:
        return [], dict.fromkeys(names, "the references' environment is missing: make references")
    threads = personalities.threads(max(1, (os.cpu_count() or 1) // (len(names) + 1)))
    torch.set_num_threads(threads)
    clients, missing = [], {}
    for name in names:
        try:
            client = Client(REFERENCES[name], python, threads=threads, timeout=timeout, variables=variables)
            clients.append(stack.enter_context(client))
        except WorkerError as error:
            missing[name] = str(error)
    return clients, missing
