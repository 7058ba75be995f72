"""Start the workers of several references, and say of each that does not start why not.

A reference that nobody named and that is not installed may be missing. One that is installed and does not answer may
not: a run that looks whole would have left it out.
"""

import os
from collections.abc import Container, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from parity.errors import NotInstalledError, WorkerError
from parity.execution import personalities
from parity.workers.client import Client, interpreter, missing_environment
from parity.workers.process import TIMEOUT
from parity.workers.registry import REFERENCES


def start_clients(
    names: Sequence[str],
    folder: Path | None,
    stack: ExitStack,
    *,
    timeout: float = TIMEOUT,
    variables: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> tuple[list[Client], dict[str, WorkerError]]:
    """Start the workers; returns those that run, and for each that does not what it ended with.

    Args:
        names: the references' names.
        folder: their environment; None for the usual place.
        stack: what ends the workers.
        timeout: seconds that each step of a worker's start may take.
        variables: further environment variables of theirs, such as those of a personality.
        device: where they run cases.
    """
    python = interpreter(folder)
    if python is None:
        absent = NotInstalledError(missing_environment())
        return [], dict.fromkeys(names, absent)
    threads = personalities.threads(max(1, (os.cpu_count() or 1) // (len(names) + 1)))
    torch.set_num_threads(threads)
    clients: list[Client] = []
    missing: dict[str, WorkerError] = {}
    for name in names:
        try:
            client = Client(
                REFERENCES[name],
                python,
                threads=threads,
                timeout=timeout,
                variables=variables,
                device=device,
            )
            clients.append(stack.enter_context(client))
        except WorkerError as error:
            missing[name] = error
    return clients, missing


def incomplete(missing: Mapping[str, WorkerError], named: Container[str] = ()) -> bool:
    """Whether what is missing makes a run incomplete, which ends with status 3.

    Args:
        missing: what each reference that does not run ended with.
        named: those that were asked for by name.
    """
    return any(name in named or not isinstance(why, NotInstalledError) for name, why in missing.items())
