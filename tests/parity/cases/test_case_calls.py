"""What cases share: gradients, and checks that must turn red where nothing could be seen."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from parity.cases.calls import (
    attention_chooses,
    drops_and_keeps,
    forward,
    function,
    some_items_pass_through,
    with_input,
)
from parity.execution.case import Side, uniform
from parity.execution.fill import fill_
from parity.execution.training import gradients
from parity.run.samblocks_library import library


def side(module: nn.Module | None, inputs: Mapping[str, Tensor]) -> Side:
    return Side(library(), module, inputs, torch.float32)


def test_gradients_are_those_of_a_finite_difference() -> None:
    net = fill_(nn.Sequential(nn.Linear(3, 4), nn.Tanh())).double()
    x = uniform(2, 3).tensor("gradients:x").double()
    call = gradients()
    with torch.no_grad():
        found = call(Side(library(), net, {"x": x}, torch.float64))
        noise = torch.from_numpy(_noise((2, 4)))
        step = torch.zeros_like(x)
        step[1, 2] = 1e-6
        difference = (((net(x + step) - net(x - step)) * noise).sum() / 2e-6).item()
    assert found["input"]["x"][1, 2].item() == pytest.approx(difference, rel=1e-6)
    assert found["parameters"].shape == (3 * 4 + 4,)
    assert torch.equal(found["out"], net(x))
    assert not found["input"]["x"].requires_grad


def test_vanishing_gradients_are_left_out() -> None:
    net = fill_(nn.Linear(3, 4))
    found = gradients(vanishing=("bias",))(side(net, {"x": torch.ones(1, 3)}))
    assert found["parameters"].shape == (12,)


def test_functions_and_arguments_are_handed_on() -> None:
    x = torch.arange(32.0).reshape(1, 4, 4, 2)
    windows, padded = function("window_partition", window_size=2)(side(None, {"x": x}))
    assert windows.shape == (4, 2, 2, 2)
    assert padded == (4, 4)
    net = nn.MaxPool1d(2, return_indices=False)
    assert forward()(side(net, {"x": x[0, 0].T.contiguous()})).shape == (2, 2)


def test_a_function_that_gets_no_module_says_so() -> None:
    with pytest.raises(TypeError, match="no module"):
        forward()(side(None, {}))


def test_uniform_attention_is_blind() -> None:
    values = uniform(2, 5, 8).tensor("values")
    attention_chooses()({"out": values})
    mean = values.mean(dim=1, keepdim=True).expand_as(values)
    with pytest.raises(AssertionError, match="queries differ by 0"):
        attention_chooses()({"out": mean})
    with pytest.raises(AssertionError, match="second"):
        attention_chooses("first", "second")({"first": values, "second": mean})


@pytest.mark.parametrize("mask", [[0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [0.0, 1.0, 2.0]])
def test_drop_path_that_drops_all_or_none_or_wrongly_is_blind(mask: list[float]) -> None:
    given = torch.rand(3, 2, 2, dtype=torch.float64) + 0.5
    drops_and_keeps(2.0)({"given": given, "out": given * torch.tensor([0.0, 2.0, 2.0])[:, None, None]})
    with pytest.raises(AssertionError, match="items dropped"):
        drops_and_keeps(2.0)({"given": given, "out": given * torch.tensor(mask)[:, None, None]})


def test_residual_blocks_must_drop_some_items_and_keep_others() -> None:
    given = torch.rand(4, 2, 3)
    changed = given + torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None, None]
    some_items_pass_through({"given": given, "out": changed})
    for blind in (given, given + 1):
        with pytest.raises(AssertionError, match="items passed through"):
            some_items_pass_through({"given": given, "out": blind})


def test_the_input_is_returned_beside_the_output() -> None:
    x = torch.ones(2, 3)
    found = with_input(side(nn.Identity(), {"x": x}))
    assert found["out"] is x
    assert found["given"] is x


def _noise(shape: tuple[int, ...]) -> object:
    from parity.execution import fill

    return fill.uniform("noise:out", shape)
