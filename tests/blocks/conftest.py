"""Every block in two samples, as the recorded table of signatures has them, filled with values by name."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.execution import fill
from samblocks import blocks

SIGNATURES = json.loads(Path(__file__).parents[1].joinpath("data", "signatures.json").read_text("utf-8"))


def built(value: Any) -> Any:
    """What a constructor argument of the table stands for."""
    if isinstance(value, dict) and "torch.nn" in value:
        made = getattr(nn, value["torch.nn"])
        return made(*value["arguments"]) if "arguments" in value else made
    if isinstance(value, dict) and "block" in value:
        arguments = {name: built(argument) for name, argument in value["arguments"].items()}
        return getattr(blocks, value["block"])(**arguments)
    if isinstance(value, dict) and "tuple" in value:
        return tuple(value["tuple"])
    if isinstance(value, dict) and "frames" in value:
        return {index: f"frame {index}" for index in value["frames"]}
    return value


def is_tensor(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, dict) and "complex" in value)


@dataclass(frozen=True)
class Sample:
    """One block, or function, with arguments and what was recorded for it."""

    name: str
    number: int
    facts: dict[str, Any]

    def construct(self) -> nn.Module:
        """The module as it comes: initial values, training mode."""
        arguments = {name: built(value) for name, value in self.facts["arguments"].items()}
        module: nn.Module = getattr(blocks, self.name)(**arguments)
        return module

    def filled(self, dtype: torch.dtype = torch.float32) -> nn.Module:
        """The module with a value of its own in every tensor, in evaluation mode."""
        return fill.fill_(self.construct().to(dtype)).eval()

    def inputs(self, dtype: torch.dtype = torch.float32, device: str = "cpu") -> dict[str, Any]:
        """Arguments of the call, tensors filled by name."""
        inputs: dict[str, Any] = {}
        for name, value in self.facts["inputs"].items():
            if isinstance(value, list):
                inputs[name] = fill.tensor(f"{self.name}.{name}", value, dtype).to(device)
            elif is_tensor(value):
                real, imaginary = (fill.tensor(part, value["complex"]) for part in ("real", "imaginary"))
                inputs[name] = torch.complex(real, imaginary)
            else:
                inputs[name] = built(value)
        return inputs


def samples(kind: str) -> list[Sample]:
    return [
        Sample(name, number, facts)
        for name, entry in SIGNATURES[kind].items()
        for number, facts in enumerate(entry["samples"])
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `sample` runs for every block, one that asks for `function` for every function."""
    for fixture, kind in (("sample", "classes"), ("function", "functions")):
        if fixture in metafunc.fixturenames:
            found = samples(kind)
            metafunc.parametrize(fixture, found, ids=[f"{one.name}-{one.number}" for one in found])


@pytest.fixture(scope="session")
def signatures() -> dict[str, Any]:
    return dict(SIGNATURES)


@pytest.fixture(scope="session")
def leaves() -> Callable[[Any], list[Tensor]]:
    """The tensors in an output, however nested."""

    def tensors(output: Any) -> list[Tensor]:
        if isinstance(output, Tensor):
            return [output]
        if isinstance(output, list | tuple):
            return [leaf for part in output for leaf in tensors(part)]
        return []

    return tensors
