"""Training parity: masks given to both sides, gradients of every block, and steps that would show a difference."""

from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.cases import all_cases
from parity.cases import training as cases
from parity.execution.case import Case, Side, uniform
from parity.execution.execute import execute, prepare
from parity.execution.training import Injected, gradients, steps
from parity.run.samblocks_library import library


class Steps(nn.Module):
    """Attention in steps, as one library has it."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)
        return functional.dropout(weights, 0.5, self.training) @ v


class Fused(nn.Module):
    """The same by the fused function, as another library has it."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v, dropout_p=0.5 if self.training else 0.0)


def test_attention_in_steps_and_fused_are_given_equal_masks() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 8) for n in (5, 7, 7))
    results = []
    for module in (Steps(), Fused()):
        with Injected() as masks:
            results.append(module(q, k, v))
        assert masks.drawn == 1
    torch.testing.assert_close(*results)
    with torch.no_grad():
        assert not torch.allclose(results[0], Fused().eval()(q, k, v))


def test_masks_follow_from_the_order_of_draws_and_the_shape() -> None:
    x = torch.ones(40, 3)
    with Injected():
        first, second = functional.dropout(x, 0.5), functional.dropout(x, 0.5)
    with Injected():
        again = nn.Dropout(0.5)(x)
        drawn = x.new_empty(40, 3).bernoulli_(0.5)
    assert torch.equal(first, again)
    assert torch.equal(second / 2, drawn)
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 2.0}


def test_nothing_is_dropped_in_evaluation() -> None:
    x = torch.rand(5, 5)
    with Injected() as masks:
        assert torch.equal(nn.Dropout(0.5).eval()(x), x)
    assert masks.drawn == 0


def test_an_axis_of_length_one_changes_no_mask() -> None:
    x = torch.ones(4, 6)
    with Injected():
        plain = functional.dropout(x, 0.5)
    with Injected():
        wide = functional.dropout(x.unsqueeze(1), 0.5)
    assert torch.equal(plain, wide.squeeze(1))


def test_every_block_with_parameters_has_gradients() -> None:
    having, learning = set(), set()
    for case in all_cases().values():
        if "gradients" in case.name:
            having.add(case.block)
        elif not case.is_function and case.variant is None and case.block not in learning:
            module, _ = prepare(case, library())
            if any(True for _ in module.parameters()):
                learning.add(case.block)
    assert learning - having == set()


def test_both_optimizers_follow_blocks_and_models() -> None:
    followed = Counter(case.block for case in cases.CASES if case.steps)
    assert set(followed.values()) == {2}
    assert {"MultiScaleBlock", "MemoryAttentionLayer", "Hiera", "SAM2Model"} == set(followed)


class OneWeight:
    """A library with a single module: a scaled dropout."""

    name = "one"

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def construct(self, block: str, kwargs: object) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 6), nn.Dropout(self.rate))

    def canonical(self, name: str) -> str:
        return name


def _case(call: object) -> Case:
    return Case(block="Any", name="case", why="x", inputs={"x": uniform(9, 6)}, call=call, train=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_steps_change_weights_by_masks(optimizer: str) -> None:
    case = _case(steps(optimizer, drops=True))
    tensors = case.tensors()
    outcomes = [execute(case, OneWeight(rate), tensors).outputs for rate in (0.2, 0.2, 0.3)]  # type: ignore[arg-type]
    assert all(torch.equal(outcomes[0][name], outcomes[1][name]) for name in outcomes[0])
    assert not torch.allclose(outcomes[0]["losses"], outcomes[2]["losses"], rtol=1e-3)
    assert outcomes[0]["losses"].shape == (5,)
    assert outcomes[0]["losses"][4] < outcomes[0]["losses"][0]
    assert float(outcomes[0]["way"].abs().max()) > 1e-3


def test_a_case_that_should_drop_but_does_not_is_blind() -> None:
    case = _case(gradients(drops=True))
    with pytest.raises(AssertionError, match="nothing was dropped"):
        execute(case, OneWeight(0.0), case.tensors())  # type: ignore[arg-type]


def test_gradients_of_what_nothing_depends_on_are_zeros() -> None:
    def run(side: Side, inputs: object) -> Tensor:
        result: Tensor = side.net[1](side.net[0].weight)
        return result

    outputs = execute(_case(gradients(run)), OneWeight(0.0), _case(None).tensors()).outputs  # type: ignore[arg-type]
    assert torch.equal(outputs["input/x"], torch.zeros(9, 6))
    assert outputs["parameters"][:36].abs().max() > 0
    assert torch.equal(outputs["parameters"][36:], torch.zeros(6))


def test_five_steps_on_our_blocks_follow_their_own_float64() -> None:
    case = next(case for case in cases.CASES if case.id == "MultiScaleBlock/five_steps_of_SGD")
    tensors = case.tensors()
    narrow, wide = execute(case, library(), tensors), execute(case, library(), tensors, lift=True)
    for name, value in narrow.outputs.items():
        torch.testing.assert_close(value.double(), wide.outputs[name], rtol=2e-5, atol=2e-6)
