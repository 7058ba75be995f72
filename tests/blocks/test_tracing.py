"""Blocks where no numbers are: on the meta device, in an empty batch, in a traced graph."""

import torch
from torch import Tensor
from torch.func import functional_call, grad

from parity.execution import fill
from samblocks import blocks
from samblocks.ops import rope, sine


def test_modules_are_made_and_run_on_the_meta_device(sample, leaves) -> None:
    with torch.device("meta"):
        module = sample.construct().eval()
    assert all(entry.is_meta for entry in module.state_dict().values())
    outputs = leaves(module(**sample.inputs(device="meta")))
    expected = leaves(sample.filled()(**sample.inputs()))
    if sample.name != "PositionEmbeddingRandom":
        assert all(out.is_meta for out in outputs)
    assert [out.shape for out in outputs] == [out.shape for out in expected]


def test_an_empty_batch_gives_an_empty_result(sample, leaves) -> None:
    module = sample.filled()
    if sample.name == "PositionEmbeddingRandom":  # knows no batch, but points may be none
        assert module.forward_with_coords(torch.zeros(0, 5, 2), (3, 4)).shape[:2] == (0, 5)
        return
    inputs = {k: v[:0] if isinstance(v, Tensor) else v for k, v in sample.inputs().items()}
    full = leaves(module(**sample.inputs()))
    empty = leaves(module(**inputs))
    assert [out.shape for out in empty] == [(0, *out.shape[1:]) for out in full]


def test_the_graph_of_rotary_attention_has_no_complex_numbers() -> None:
    attention = fill.fill_(blocks.RoPEAttention(16, 2, rope_k_repeat=True, feat_sizes=(3, 2))).eval()
    q, k = fill.tensor("q", (1, 6, 16)), fill.tensor("k", (1, 14, 16))
    rope._tables.clear()
    program = torch.export.export(attention, (q, k, k), {"num_k_exclude_rope": 2})
    values = [node.meta.get("val") for node in program.graph.nodes]
    assert not any(value.is_complex() for value in values if isinstance(value, Tensor))
    assert len(rope._tables) == 0  # nothing of the trace is kept
    traced = program.module()(q, k, k, num_k_exclude_rope=2)
    torch.testing.assert_close(traced, attention(q, k, k, num_k_exclude_rope=2), rtol=1e-5, atol=1e-6)


def test_dynamo_takes_blocks_in_one_graph() -> None:
    for module, shapes in (
        (blocks.MultiScaleBlock(8, 16, 2, q_stride=(2, 2), window_size=4), [(1, 7, 6, 8)]),
        (blocks.MemoryAttentionLayer(16, 8), [(1, 4, 16), (1, 8, 64)]),
    ):
        fill.fill_(module).eval()
        inputs = [fill.tensor(f"x{index}", shape) for index, shape in enumerate(shapes)]
        torch._dynamo.reset()
        with torch.no_grad():
            compiled = torch.compile(module, backend="eager", fullgraph=True)
            torch.testing.assert_close(compiled(*inputs), module(*inputs), rtol=1e-5, atol=1e-6)


def test_function_transforms_leave_nothing_behind() -> None:
    attention = fill.fill_(blocks.RoPEAttention(16, 2)).eval()
    x = fill.tensor("x", (1, 4, 16))
    rope._tables.clear()
    sine._grids.clear()

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(attention, parameters, (x, x, x)).square().sum()

    grads = grad(loss)(dict(attention.named_parameters()))
    assert len(rope._tables) == 0
    attention(x, x, x).square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(grads[name], parameter.grad)
