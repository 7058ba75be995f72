"""What the machine can do at most, and how much a row asks of it: the rate of plain products, and counts of operations.

Measured in every round beside the contestants, so that other work on the machine slows both alike.
"""

import time
from collections.abc import Callable
from typing import BinaryIO

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from parity.bench import rows
from parity.bench.rows import Row
from parity.bench.works import Graph
from parity.workers.protocol import requests, send

_ROWS, _IN, _OUT = 2048, 768, 3072
OPERATIONS = 2 * _ROWS * _IN * _OUT
"""Of the product that is timed, one of ViT-B's size: multiplications and additions."""

_TOO_SLOW = 4.0
"""A library that takes so many times the other's time is left out: it has no kernel of its own here."""


def serve(incoming: BinaryIO, outgoing: BinaryIO, size: int, threads: int) -> None:
    """Answer requests: `count`, a row's name, counts its operations; without, products are timed.

    Args:
        incoming: the pipe that requests come from.
        outgoing: the pipe that answers go to.
        size: side of the whole bench's images.
        threads: number of threads that torch may use.
    """
    torch.set_num_threads(threads)
    with torch.no_grad():
        products = {dtype: _products(dtype) for dtype in (torch.float32, torch.bfloat16)}
        send(outgoing, {"status": "ready"})
        for asked, _ in requests(incoming):
            if "count" in asked:
                send(outgoing, {"status": "ok", "operations": count(rows.find(asked["count"]), size)})
                continue
            rates = {
                str(dtype).removeprefix("torch."): {
                    name: OPERATIONS / _seconds(run) for name, run in ways.items()
                }
                for dtype, ways in products.items()
            }
            send(outgoing, {"status": "ok", "rates": rates})


def _products(dtype: torch.dtype) -> dict[str, Callable[[], Tensor]]:
    """The same product by each of torch's libraries for it, those that are far behind left out."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_ROWS, _IN, generator=generator).to(dtype)
    weight = torch.randn(_OUT, _IN, generator=generator).to(dtype)
    image = x.t().reshape(1, _IN, _ROWS, 1).contiguous(memory_format=torch.channels_last)

    def without_onednn(x: Tensor) -> Tensor:  # the context `flags` touches more, and warns of it
        before = torch.backends.mkldnn.set_flags(False)  # type: ignore[no-untyped-call]

        try:
            return F.linear(x, weight)
        finally:
            torch.backends.mkldnn.set_flags(before[0])  # type: ignore[no-untyped-call]

    ways: dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]] = {
        # Products by a weight go to oneDNN where they are bfloat16, and 1x1 convolutions always.
        "oneDNN": (
            lambda: F.conv2d(image[:, :, :64], weight[..., None, None]),
            lambda: F.conv2d(image, weight[..., None, None]),
        ),
        "MKL": (lambda: without_onednn(x[:64]), lambda: without_onednn(x)),
    }
    tried = {}
    for name, (little, _) in ways.items():
        little()
        tried[name] = min(_seconds(little) for _ in range(3))
    fastest = min(tried.values())
    return {name: whole for name, (_, whole) in ways.items() if tried[name] <= _TOO_SLOW * fastest}


def _seconds(call: Callable[[], object]) -> float:
    """Of the processor, for a call."""
    started = time.process_time()
    call()
    return max(time.process_time() - started, 1e-9)


def count(row: Row, size: int) -> int | None:
    """Multiplications and additions of a row's products and convolutions, by the layers as they are written.

    Nothing is computed: shapes alone go through our plain paths. None for a row that no shapes alone can drive.
    """
    if not isinstance(row.work, Graph):
        return None
    from parity.run.samblocks_library import library
    from samblocks.ops.fast_path import plain_paths

    side = row.side(size)
    model = library().model(row.variant, side, {}).requires_grad_(False)
    module = row.work.module(model).eval().to("meta")
    inputs = {name: value.to("meta") for name, value in row.work.inputs(side).items()}
    with plain_paths(), FlopCounterMode(display=False) as counter:
        module(*inputs.values())
    operations: int = counter.get_total_flops()
    return operations
