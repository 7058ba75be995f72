"""Blocks on a GPU: they follow `.to()`, tables included, and agree with the CPU."""

from typing import Any

import pytest
import torch
from torch import Tensor

from parity.execution import fill
from samblocks import blocks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def moved(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value.cuda() if isinstance(value, Tensor) else value for name, value in inputs.items()}


def test_blocks_follow_to_a_gpu_and_back(sample, leaves) -> None:
    module, inputs = sample.filled(torch.float64), sample.inputs(torch.float64)
    with torch.no_grad():
        before = leaves(module(**inputs))
        there = leaves(module.cuda()(**moved(inputs)))
        after = leaves(module.cpu()(**inputs))
    assert all(out.is_cuda for out in there)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    for one, other in zip(before, there, strict=True):
        torch.testing.assert_close(one, other.cpu(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_blocks_run_in_each_type_on_a_gpu(sample, leaves, dtype: torch.dtype) -> None:
    module = sample.filled().to("cuda", dtype)
    with torch.no_grad():
        outputs = leaves(module(**moved(sample.inputs(dtype))))
    assert all(out.isfinite().all() for out in outputs)


def test_tables_of_two_devices_do_not_meet() -> None:
    encoding, attention = blocks.PositionEmbeddingSine(8), fill.fill_(blocks.RoPEAttention(16, 2)).eval()
    x = fill.tensor("x", (1, 4, 16))
    for device in ("cpu", "cuda", "cpu", "cuda"):
        y = x.to(device)
        assert encoding(torch.zeros(1, 1, 3, 4, device=device)).device.type == device
        assert attention.to(device)(y, y, y).device.type == device
        assert attention.freqs_cis.device.type == device
