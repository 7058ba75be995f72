"""The process that drives hosts: one message for each driver."""

from __future__ import annotations

import traceback
import warnings
from importlib import import_module, metadata
from typing import BinaryIO

import torch

from parity.execution.paths import PATHS
from parity.references.common import torchvision_operators
from parity.references.hosts.measure import HostFails, measure
from parity.workers.protocol import send
from samblocks.swap.known_code import Trust


def serve(
    incoming: BinaryIO,
    outgoing: BinaryIO,
    module: str,
    size: int,
    repeats: int,
    threads: int,
    only: str,
    prefix: str,
    paths: str,
    trust: Trust,
) -> None:
    """Measure the drivers of one file.

    Args:
        incoming: the pipe that nothing comes from.
        outgoing: the pipe that rows go to.
        module: where `DRIVERS` is.
        size: side of the models' images in pixels.
        repeats: how often each side is timed.
        threads: number of threads that torch may use.
        only: a part of the drivers' names; all if empty.
        prefix: how their names begin.
        paths: what ours may do, a key of `parity.execution.paths.PATHS`.
        trust: what classes are known by.
    """
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    torchvision_operators.declare_missing()
    send(outgoing, {"status": "ready"})
    for driver in import_module(module).DRIVERS:
        if only.lower() not in driver.name.lower() or not driver.name.startswith(prefix):
            continue
        for autocast in (False, True):
            name = f"{driver.name}, bf16" if autocast else driver.name
            row: dict[str, object] = {"library": driver.library, "driver": name, "autocast": autocast}
            try:
                row["versions"] = {name: metadata.version(name) for name in (*driver.packages, "torch")}
                with PATHS[paths]():
                    row |= measure(driver, size, 0 if autocast else repeats, trust, autocast=autocast)
            except HostFails as error:
                row["refused"] = str(error)
            except metadata.PackageNotFoundError as error:
                row["missing"] = str(error)
            except Exception as error:
                row["failures"] = [f"{type(error).__name__}: {error}"]
                row["trace"] = traceback.format_exc(limit=-6)
            send(outgoing, {"status": "ok", "row": row})
    send(outgoing, {"status": "done"})
