"""The blocks against the recorded table: parameters, tensors, attributes, what comes out. None may drift."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.execution import fill
from samblocks import blocks

PLAIN = set(vars(nn.Module()))


def parameters(function: Callable[..., Any]) -> list[list[str | None]]:
    return [
        [one.name, one.kind.name.lower(), None if one.default is one.empty else repr(one.default)]
        for one in inspect.signature(function).parameters.values()
        if one.name != "self"
    ]


def described(value: Any) -> Any:
    """A value in the table's notation."""
    if isinstance(value, Tensor):
        return {"tensor": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [described(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": {str(key): described(part) for key, part in value.items()}}
    if isinstance(value, int | float | str | bool | None):
        return repr(value)
    if isinstance(value, functools.partial):
        return {"partial": {key: repr(part) for key, part in sorted(value.keywords.items())}}
    return type(value).__name__


def test_every_public_name_is_recorded(signatures) -> None:
    assert sorted(blocks.__all__) == sorted([*signatures["classes"], *signatures["functions"]])
    assert all(hasattr(blocks, name) for name in blocks.__all__)


def test_the_table_covers_every_argument_with_a_value_that_is_no_default(signatures) -> None:
    for name, entry in signatures["classes"].items():
        given = {key for sample in entry["samples"] for key in sample["arguments"]}
        wanted = {key for key, kind, _ in entry["constructor"] if not kind.startswith("var")}
        assert wanted - given <= {"dropout"}, name  # which the recorded release lacks


def test_constructors_and_methods_take_what_is_recorded(signatures) -> None:
    for name, entry in signatures["classes"].items():
        block = getattr(blocks, name)
        assert parameters(block.__init__) == entry["constructor"], name
        for method, recorded in entry["methods"].items():
            assert parameters(getattr(block, method)) == recorded, f"{name}.{method}"
        assert [base.__name__ for base in block.__mro__[1:] if base.__module__.startswith("samblocks")] == (
            entry["bases"]
        ), name


def test_functions_take_what_is_recorded(signatures) -> None:
    for name, entry in signatures["functions"].items():
        assert parameters(getattr(blocks, name)) == entry["parameters"], name


def test_tensors_have_the_recorded_names_shapes_and_order(sample) -> None:
    module = sample.construct()
    state = [
        [name, "x".join(map(str, entry.shape)), str(entry.dtype).removeprefix("torch.")]
        for name, entry in module.state_dict().items()
    ]
    assert state == sample.facts["state"]
    assert [name for name, _ in module.named_parameters()] == sample.facts["parameters"]
    assert [name for name, _ in module.named_buffers()] == sample.facts["buffers"]
    assert [[name, type(child).__name__] for name, child in module.named_children()] == (
        sample.facts["children"]
    )


def test_attributes_that_hosts_read_are_there(sample, signatures) -> None:
    module = sample.construct()
    recorded = sample.facts["attributes"]
    assert {name: described(getattr(module, name)) for name in recorded} == recorded
    own = {name for name in vars(module) if name not in PLAIN and not name.startswith("_")}
    assert own - set(recorded) <= set(signatures["added"].get(sample.name, ()))


def test_a_call_gives_the_recorded_structure_shapes_and_dtypes(sample) -> None:
    with torch.no_grad():
        output = sample.filled()(**sample.inputs())
    assert described(output) == sample.facts["output"]


def test_a_function_gives_the_recorded_structure_shapes_and_dtypes(function) -> None:
    output = getattr(blocks, function.name)(**function.inputs())
    assert described(output) == function.facts["output"]


def test_modules_pickled_before_an_attribute_existed_still_run() -> None:
    old = fill.fill_(blocks.MLP(4, 6, 4, 2))
    x = fill.tensor("x", (2, 4))
    before = old(x)
    for name in ("sigmoid", "residual"):
        delattr(old, name)
    del old._modules["out_norm"]
    assert torch.equal(old(x), before)


@pytest.mark.parametrize("name", ["Block", "REAttention"])
def test_the_flag_that_upstream_ignores_changes_nothing(name: str) -> None:
    arguments: dict[str, Any] = {"dim": 16, "num_heads": 2, "use_rel_pos": True, "input_size": (3, 4)}
    for flag in (True, False):
        module = getattr(blocks, name)(rel_pos_zero_init=flag, **arguments)
        tables = [entry for key, entry in module.state_dict().items() if "rel_pos" in key]
        assert len(tables) == 2
        assert not any(table.any() for table in tables)
