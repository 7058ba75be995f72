"""What a block leaves alone beside what `parity.contracts` demands of every case: results, tables, flags and hooks.

That calls repeat, and leave inputs and modules as they are, that copies share nothing and threads do not disturb one
another, is stated there.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from parity.execution import fill
from samblocks import blocks
from samblocks.ops import rope, sine


def test_writing_into_a_result_changes_no_later_result(sample, leaves) -> None:
    module = sample.filled()
    if sample.name == "DropPath":  # gives back its input itself, as upstream does
        x = sample.inputs()["x"]
        assert module(x) is x
        return
    with torch.no_grad():
        first = leaves(module(**sample.inputs()))
        kept = [out.clone() for out in first]
        for out in first:
            out.fill_(7.0)
        second = leaves(module(**sample.inputs()))
    assert all(torch.equal(*pair) for pair in zip(kept, second, strict=True))


def test_memory_format_of_the_input_does_not_matter(sample, leaves) -> None:
    module, inputs = sample.filled(), sample.inputs()

    def strided(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        wide = torch.stack((value, torch.full_like(value, 9.0)), dim=-1)
        return wide[..., 0]

    with torch.no_grad():
        expected = leaves(module(**inputs))
        found = leaves(module(**{name: strided(value) for name, value in inputs.items()}))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_pickles_do_not_grow_with_use() -> None:
    for module, x in (
        (blocks.PositionEmbeddingSine(64), torch.zeros(1, 1, 64, 64)),
        (blocks.RoPEAttention(16, 2), torch.zeros(1, 1024, 16)),
    ):
        before = len(pickle.dumps(module))
        module(*([x] if x.dim() == 4 else [x, x, x]))
        assert len(pickle.dumps(module)) == before


def test_threads_do_not_disturb_one_another() -> None:
    attention = fill.fill_(blocks.RoPEAttention(32, 2, rope_k_repeat=True).double()).eval()
    encoding = blocks.PositionEmbeddingSine(16)
    sides = [2, 3, 4, 5, 6, 7] * 4

    def work(side: int) -> tuple[Tensor, Tensor]:
        q = fill.tensor(f"q{side}", (1, side * side, 32), torch.float64)
        k = fill.tensor(f"k{side}", (1, 2 * side * side + 1, 32), torch.float64)
        with torch.no_grad():
            return attention(q, k, k, num_k_exclude_rope=1), encoding(torch.zeros(1, 1, side, 2 * side))

    alone = [work(side) for side in sides]
    rope._tables.clear()
    sine._grids.clear()
    with ThreadPoolExecutor(max_workers=8) as pool:
        together = list(pool.map(work, sides))
    for one, other in zip(alone, together, strict=True):
        # A table of another size would show in the first digit; the last bit of a product is a thread's own affair.
        torch.testing.assert_close(one[0], other[0], rtol=1e-12, atol=1e-12)
        assert torch.equal(one[1], other[1])


def test_keys_stay_as_they_are_even_if_nothing_projects_them() -> None:
    attention = fill.fill_(blocks.RoPEAttention(16, 2)).eval()
    attention.k_proj = nn.Identity()  # type: ignore[assignment]
    k = fill.tensor("k", (1, 4, 16)).requires_grad_()
    kept = k.detach().clone()
    attention(fill.tensor("q", (1, 4, 16)), k, k).sum().backward()
    assert torch.equal(k, kept)
    assert k.grad is not None
    assert k.grad.abs().sum() > 0


def test_tables_are_not_shared_with_what_users_can_write_to() -> None:
    attention = fill.fill_(blocks.RoPEAttention(16, 2, feat_sizes=(2, 2))).eval()
    x = fill.tensor("x", (1, 4, 16))
    with torch.no_grad():
        expected = attention(x, x, x)
        attention.freqs_cis.zero_()
        blocks.compute_axial_cis(8, 2, 2).zero_()
        assert torch.equal(attention(x, x, x), expected)
    assert attention.freqs_cis.abs().min() > 0.99


def test_a_table_made_in_inference_mode_serves_training() -> None:
    attention = fill.fill_(blocks.RoPEAttention(16, 2))
    x = fill.tensor("x", (1, 9, 16))
    rope._tables.clear()
    with torch.inference_mode():
        attention(x, x, x)
    x.requires_grad_()
    attention(x, x, x).sum().backward()
    assert x.grad is not None


def test_random_encodings_leave_process_wide_flags_alone() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        blocks.PositionEmbeddingRandom(4)((3, 3))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_nothing_is_drawn_from_the_global_generator_in_evaluation(sample) -> None:
    module = sample.filled()
    before = torch.get_rng_state()
    module(**sample.inputs())
    assert torch.equal(torch.get_rng_state(), before)


def test_hooks_on_inner_layers_take_effect() -> None:
    for module, inputs, layer in (
        (blocks.Block(16, 2), [torch.ones(1, 3, 4, 16)], "attn.qkv"),
        (blocks.MultiScaleBlock(16, 8, 2), [torch.ones(1, 3, 4, 16)], "proj"),
        (blocks.Attention(16, 2), [torch.ones(1, 3, 16)] * 3, "out_proj"),
        (blocks.MLPBlock(16, 8), [torch.ones(1, 3, 16)], "lin2"),
        (blocks.CXBlock(16), [torch.ones(1, 16, 3, 4)], "norm"),
        (blocks.MemoryAttentionLayer(16, 8), [torch.ones(1, 4, 16), torch.ones(1, 4, 64)], "norm3"),
    ):
        seen: list[str] = []
        module.get_submodule(layer).register_forward_hook(lambda *_, seen=seen: seen.append("called"))
        module.eval()(*inputs)
        assert seen == ["called"], f"{type(module).__name__}.{layer}"
