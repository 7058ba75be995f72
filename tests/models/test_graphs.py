"""Compiled parts: one graph without a break, and one more, for any number of prompts, objects or memories."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.execution.fill import fill_
from samblocks.blocks import MemoryAttentionLayer, RoPEAttention, SAM2TwoWayTransformer
from samblocks.models.prompt_encoder import PromptEncoder
from samblocks.models.sam2.mask_decoder import SAM2MaskDecoder
from samblocks.models.sam2.memory import MemoryAttention

Call = tuple[tuple[Any, ...], dict[str, Any]]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def mask_decoder() -> tuple[nn.Module, list[Call]]:
    decoder = SAM2MaskDecoder(
        16, SAM2TwoWayTransformer(1, 16, 2, 32), use_high_res_features=True, pred_obj_scores=True
    )
    maps, finer = draw(1, 16, 4, 4), [draw(1, 2, 16, 16), draw(1, 4, 8, 8)]
    named = {"multimask_output": False, "repeat_image": True, "high_res_features": finer}
    return decoder, [((maps, maps, draw(prompts, 2, 16), maps), named) for prompts in (2, 3, 7)]


def memory_attention() -> tuple[nn.Module, list[Call]]:
    own = RoPEAttention(32, 1, feat_sizes=(4, 4))
    other = RoPEAttention(32, 1, kv_in_dim=64, rope_k_repeat=True, feat_sizes=(4, 4))
    layer = MemoryAttentionLayer(32, 64, self_attn=own, cross_attn=other)
    calls = []
    for memories, pointers in ((2, 2), (3, 3), (4, 3), (7, 6)):
        tokens = 16 * memories + 4 * pointers
        given = (draw(16, 1, 32), draw(tokens, 1, 64), draw(16, 1, 32), draw(tokens, 1, 64))
        calls.append((given, {"num_obj_ptr_tokens": 4 * pointers}))
    return MemoryAttention(32, True, layer, 1), calls


def prompt_encoder() -> tuple[nn.Module, list[Call]]:
    encoder = PromptEncoder(16, (4, 4), (64, 64), 16, embed_corner_labels=False)
    sizes = ((2, 2), (3, 3), (5, 4))
    return encoder, [
        (((draw(b, n, 2), torch.ones(b, n, dtype=torch.int32)), None, None), {}) for b, n in sizes
    ]


@pytest.mark.parametrize("part", [mask_decoder, memory_attention, prompt_encoder])
def test_two_graphs_do_for_any_number(part: Any) -> None:
    module, calls = part()
    fill_(module).eval().requires_grad_(False)
    graphs = []

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(module, backend=count, fullgraph=True)
    for given, named in calls:
        found, expected = tensors(compiled(*given, **named)), tensors(module(*given, **named))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    # Of the first sizes, then of any. torch 2.6 sees two steps of memory as two more sizes.
    assert len(graphs) == 2 or (part is memory_attention and torch.__version__ < "2.7" and len(graphs) <= 4)


def tensors(outputs: Tensor | tuple[Tensor, ...]) -> Iterator[Tensor]:
    yield from (outputs,) if isinstance(outputs, Tensor) else outputs
