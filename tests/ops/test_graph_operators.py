"""What a compiled graph holds of ours: an operator for attention with relative positions, and biases added last."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.execution.fill import fill_, tensor
from samblocks.blocks import Block, REAttention
from samblocks.ops.linear import linear

told_apart = pytest.mark.skipif(
    not hasattr(torch.compiler, "is_exporting"), reason="torch 2.6 cannot tell an export from a compilation"
)
OPERATOR = torch.ops.samblocks.attend_with_rel_pos.default


class Recording:
    """A compiler that keeps graphs as they come and runs them."""

    def __init__(self) -> None:
        self.graphs: list[torch.fx.GraphModule] = []

    def __call__(self, graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        self.graphs.append(graph)
        return graph.forward

    @property
    def called(self) -> list[Any]:
        return [
            node.target for graph in self.graphs for node in graph.graph.nodes if node.op == "call_function"
        ]


def compiled(module: nn.Module, *inputs: Any) -> tuple[Any, list[Any]]:
    torch._dynamo.reset()
    recording = Recording()
    found = torch.compile(module, backend=recording, fullgraph=True)(*inputs)
    return found, recording.called


def holds_operator(called: list[Any]) -> bool:
    return any(target in (OPERATOR, OPERATOR.overloadpacket) for target in called)


def given(batch: int = 2, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    q, k, v = (
        tensor(name, (batch, 3, 20, width)).to(dtype) for name, width in (("q", 4), ("k", 4), ("v", 5))
    )
    rows = tensor("rows", (batch, 3, 4, 5, 4, 1)).to(dtype)
    columns = tensor("columns", (batch, 3, 4, 5, 1, 5)).to(dtype)
    return q, k, v, rows, columns


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_operator_keeps_what_torch_asks_of_one(batch: int, dtype: torch.dtype) -> None:
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(OPERATOR, (*given(batch, dtype), 0.5), test_utils=tests)


def test_it_computes_the_function() -> None:
    inputs = given(dtype=torch.float64)
    q, k, v, rows, columns = inputs
    scores = (q @ k.mT) * 0.5 + (rows + columns).reshape(2, 3, 20, 20)
    torch.testing.assert_close(OPERATOR(*inputs, 0.5), scores.softmax(-1) @ v, rtol=1e-12, atol=1e-12)


def block(window: int) -> tuple[nn.Module, Tensor]:
    module = fill_(Block(8, 2, use_rel_pos=True, window_size=window, input_size=(7, 6))).double().eval()
    return module.requires_grad_(False), tensor("x", (1, 7, 6, 8)).double()


@told_apart
@pytest.mark.parametrize("window", [0, 3])
def test_a_compiled_block_holds_it_and_gives_the_same_numbers(window: int) -> None:
    module, x = block(window)
    found, called = compiled(module, x)
    assert holds_operator(called)
    torch.testing.assert_close(found, module(x), rtol=1e-12, atol=1e-12)


def test_where_gradients_are_recorded_there_is_no_operator() -> None:
    module, x = block(0)
    module.requires_grad_(True)
    found, called = compiled(module, x)
    assert not holds_operator(called)
    found.sum().backward()
    expected = fill_(Block(8, 2, use_rel_pos=True, input_size=(7, 6))).double().eval()
    expected(x).sum().backward()
    for one, other in zip(module.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-10)


def test_an_export_holds_torchs_own_operators_alone() -> None:
    module, x = block(3)
    program = torch.export.export(module, (x,))
    spaces = {node.target.namespace for node in program.graph.nodes if hasattr(node.target, "namespace")}
    assert spaces == {"aten"}


def test_written_out_attention_stays_written_out() -> None:
    attention = fill_(REAttention(8, 2, use_rel_pos=True, input_size=(4, 5))).eval().requires_grad_(False)
    attention.implementation = "scale_scores"
    _, called = compiled(attention, tensor("x", (1, 4, 5, 8)))
    assert not holds_operator(called)


class Twice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(linear(self.layer, x))


def adds(called: list[Any]) -> bool:
    return any("add" in str(getattr(target, "__name__", target)) for target in called)


@told_apart
def test_the_bias_is_added_behind_the_product() -> None:
    layer = fill_(nn.Linear(6, 5)).eval().requires_grad_(False)
    x = tensor("x", (3, 6))
    found, called = compiled(Twice(layer), x)
    assert adds(called)
    exact = torch.relu(x.double() @ layer.weight.double().mT + layer.bias.double())
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def hooked() -> nn.Module:
    layer = nn.Linear(6, 5)
    layer.register_forward_hook(lambda _, __, out: 2 * out)
    return layer


def doubled_inputs() -> nn.Module:
    layer = nn.Linear(6, 5)
    layer.register_forward_pre_hook(lambda _, given: tuple(2 * x for x in given))
    return layer


@pytest.mark.parametrize(
    "make", [lambda: Doubled(6, 5), hooked, doubled_inputs, lambda: nn.Linear(6, 5, bias=False)]
)
def test_layers_that_are_more_than_a_product_are_called(make: Any) -> None:
    layer = fill_(make()).eval().requires_grad_(False)
    x = tensor("x", (3, 6))
    found, _ = compiled(Twice(layer), x)
    torch.testing.assert_close(found, torch.relu(layer(x)), rtol=1e-6, atol=1e-7)


def test_half_precision_is_rounded_once() -> None:
    layer = fill_(nn.Linear(64, 33)).eval().requires_grad_(False).bfloat16()
    x = tensor("x", (9, 64)).bfloat16()
    found, _ = compiled(Twice(layer), x)
    assert torch.equal(found, torch.relu(layer(x)))
    with torch.autocast("cpu", torch.bfloat16):
        wide = layer.float()
        found, _ = compiled(Twice(wide), x.float())
        assert found.dtype is torch.bfloat16
