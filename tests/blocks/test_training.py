"""Training: what is dropped, what flows back, how values begin."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from parity.execution import fill
from samblocks import blocks


def test_drop_path_draws_once_per_item_from_the_global_generator() -> None:
    x = fill.tensor("x", (64, 3, 2))
    torch.manual_seed(5)
    kept = torch.empty(64, 1, 1).bernoulli_(0.7)
    state = torch.get_rng_state()
    assert 0 < kept.sum() < 64
    for scale, factor in ((True, 1 / 0.7), (False, 1.0)):
        torch.manual_seed(5)
        out = blocks.DropPath(0.3, scale_by_keep=scale)(x)
        assert torch.equal(torch.get_rng_state(), state)
        torch.testing.assert_close(out, x * kept * factor)


def test_drop_path_of_everything_gives_zeros() -> None:
    x = fill.tensor("x", (5, 3))
    assert torch.equal(blocks.DropPath(1.0)(x), torch.zeros(5, 3))


def test_drop_path_does_nothing_in_evaluation_or_at_probability_zero() -> None:
    x = fill.tensor("x", (5, 3))
    assert blocks.DropPath(0.5).eval()(x) is x
    assert blocks.DropPath(0.0).train()(x) is x
    assert blocks.do_pool(x, None) is x


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda p: blocks.MultiScaleBlock(8, 8, 2, drop_path=p), (6, 2, 2, 8)),
        (lambda p: blocks.CXBlock(8, drop_path=p), (6, 8, 3, 3)),
    ],
    ids=["MultiScaleBlock", "CXBlock"],
)
def test_dropped_branches_leave_the_input(make: Any, shape: tuple[int, ...]) -> None:
    x = fill.tensor("x", shape)
    assert torch.equal(fill.fill_(make(1.0)).train()(x), x)
    evaluated = fill.fill_(make(1.0)).eval()(x)
    assert not torch.allclose(evaluated, x)
    torch.manual_seed(0)
    some = fill.fill_(make(0.5)).train()(x)
    whole = [torch.equal(one, other) for one, other in zip(some, x, strict=True)]
    assert any(whole)
    assert not all(whole)


def test_attention_dropout_acts_in_training_alone() -> None:
    q, k = fill.tensor("q", (2, 3, 16)), fill.tensor("k", (2, 5, 16))
    plain = fill.fill_(blocks.Attention(16, 2)).eval()
    dropping = fill.fill_(blocks.Attention(16, 2, dropout=1.0))
    bias = dropping.out_proj.bias.expand(2, 3, 16)
    torch.testing.assert_close(dropping.train()(q, k, k), bias)
    assert torch.equal(dropping.eval()(q, k, k), plain(q, k, k))
    rotary = fill.fill_(blocks.RoPEAttention(16, 2, dropout=1.0)).train()
    torch.testing.assert_close(rotary(q[:, :1], k[:, :1], k[:, :1]), bias[:, :1])


def test_a_memory_layer_drops_after_each_step_and_inside_its_mlp() -> None:
    layer = fill.fill_(blocks.MemoryAttentionLayer(16, 8, dropout=1.0)).train()
    tgt, memory = fill.tensor("tgt", (1, 4, 16)), fill.tensor("memory", (1, 4, 64))
    assert torch.equal(layer(tgt, memory), tgt)
    for dropout in (layer.dropout1, layer.dropout2, layer.dropout3):
        dropout.p = 0.0
    normed = nn.functional.layer_norm
    one = layer.self_attn(*[normed(tgt, (16,), layer.norm1.weight, layer.norm1.bias)] * 3) + tgt
    two = one + layer.cross_attn_image(
        normed(one, (16,), layer.norm2.weight, layer.norm2.bias), memory, memory
    )
    torch.testing.assert_close(layer(tgt, memory), two + layer.linear2.bias)


def test_gradients_reach_every_parameter_and_input(sample, leaves) -> None:
    module, inputs = sample.filled(torch.float64), sample.inputs(torch.float64)
    tensors = {name: value.requires_grad_() for name, value in inputs.items() if isinstance(value, Tensor)}
    outputs = [out for out in leaves(module(**inputs)) if out.requires_grad]
    weighted = [out * fill.tensor(f"g{index}", out.shape) for index, out in enumerate(outputs)]
    if not weighted:
        assert sample.name in ("PositionEmbeddingSine", "PositionEmbeddingRandom")
        return
    sum(out.sum() for out in weighted).backward()
    # Encodings that a memory layer was told not to add.
    unused = {0: {"query_pos"}, 1: {"pos"}}[sample.number] if sample.name == "MemoryAttentionLayer" else set()
    for name, tensor in (*module.named_parameters(), *tensors.items()):
        if name in unused:
            assert tensor.grad is None, name
            continue
        assert tensor.grad is not None, name
        assert tensor.grad.isfinite().all(), name
        # Adding one vector to all keys changes no softmax, unless the keys are turned afterwards.
        if not name.endswith("k_proj.bias"):
            assert tensor.grad.abs().sum() > 0, name


def test_gradients_are_right(sample, leaves) -> None:
    module = sample.filled(torch.float64)
    inputs = sample.inputs(torch.float64)
    names = [name for name, value in inputs.items() if isinstance(value, Tensor)]
    parameters = dict(module.named_parameters())
    arguments = (*(inputs[name] for name in names), *parameters.values())
    if not arguments or sample.name == "PositionEmbeddingSine":
        return

    def call(*given: Tensor) -> tuple[Tensor, ...]:
        tensors = dict(zip(names, given, strict=False))
        weights = dict(zip(parameters, given[len(names) :], strict=True))
        return tuple(leaves(functional_call(module, weights, (), {**inputs, **tensors})))

    arguments = tuple(argument.detach().clone().requires_grad_() for argument in arguments)
    assert torch.autograd.gradcheck(call, arguments, fast_mode=True)


def test_half_types_train(sample, leaves) -> None:
    module = copy.deepcopy(sample.filled()).bfloat16().train()
    inputs = sample.inputs(torch.bfloat16)
    outputs = [out for out in leaves(module(**inputs)) if out.requires_grad]
    if outputs:
        sum(out.float().square().mean() for out in outputs).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


def test_values_begin_as_upstreams_do(sample) -> None:
    """Linear layers and convolutions uniform by fan-in, norms at one and zero, tables at zero."""
    torch.manual_seed(0)
    module = sample.construct()
    for path, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            bound = part.weight[0].numel() ** -0.5
            for name, entry in part.named_parameters():
                assert entry.abs().max() <= bound, f"{path}.{name}"
                if entry.numel() >= 256:
                    assert 0.9 < entry.std() / (bound / 3**0.5) < 1.1, f"{path}.{name}"
        elif isinstance(part, nn.LayerNorm | nn.RMSNorm | blocks.LayerNorm2d):
            assert (part.weight == 1).all(), path
            assert not hasattr(part, "bias") or (part.bias == 0).all(), path
    for name, entry in module.state_dict().items():
        if name.endswith("gamma"):
            assert (entry == 1e-6).all()
        if "rel_pos" in name:
            assert (entry == 0).all()


@pytest.mark.parametrize(("scale", "deviation"), [(None, 1.0), (0.0, 1.0), (-2.0, 1.0), (3.0, 3.0)])
def test_random_directions_begin_normal(scale: float | None, deviation: float) -> None:
    torch.manual_seed(0)
    matrix = blocks.PositionEmbeddingRandom(2000, scale).positional_encoding_gaussian_matrix
    assert abs(float(matrix.std()) / deviation - 1) < 0.05
    assert abs(float(matrix.mean())) / deviation < 0.05


def test_copies_of_a_fused_layer_begin_alike_and_are_independent() -> None:
    layer = fill.fill_(blocks.CXBlock(8))
    fuser = blocks.Fuser(layer, 3)
    assert all(one is not layer for one in fuser.layers)
    for name, entry in layer.state_dict().items():
        copies = [one.state_dict()[name] for one in fuser.layers]
        assert all(torch.equal(entry, other) for other in copies)
        assert len({other.data_ptr() for other in (entry, *copies)}) == 4
