"""Contracts on a sample of the cases, one module a block; `python -m parity contracts` takes them all."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.cases import all_cases
from parity.commands.contracts import violations
from parity.contracts import manners
from parity.contracts.docstring_shapes import Shapes, entries, match
from parity.contracts.manners import CONTRACTS, DEMANDS, NotApplicable, modules
from parity.execution.case import Case, uniform

_LARGE = {"SAM2Model", "SAMModel", "TinyViT"}


def _sample(contract: str) -> list[list[Case]]:
    """For each block the first module that the contract says something about, blocks in turn."""
    cases = [
        case
        for case in all_cases().values()
        if case.quick and not case.is_function and case.block not in _LARGE and "gradients" not in case.name
    ]
    found: dict[str, list[Case]] = {}
    for group in modules(cases):
        if contract == "turns" and len(group) < 2:
            continue
        found.setdefault(group[0].block, group[:3])
    return list(found.values())


@pytest.mark.parametrize(
    "name", sorted(set(CONTRACTS) - {"repeats"})
)  # which test_cases demands of every case
def test_our_modules_keep_it(name: str) -> None:
    kept = 0
    for group in _sample(name):
        try:
            assert list(violations(CONTRACTS[name], group)) == []
            kept += 1
        except NotApplicable:
            continue
    assert kept >= 4


class Faulty(nn.Module):
    """Breaks a contract."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.kept: Any = None
        self.calls = 0
        self.weight = nn.Parameter(torch.ones(4))

    def __deepcopy__(self, memo: Any) -> nn.Module:
        twin = Faulty(self.fault)
        twin.load_state_dict(self.state_dict())
        twin.__dict__.update({name: value for name, value in vars(self).items() if name[0] != "_"})
        if self.fault == "shares its weight with copies":
            twin.weight = self.weight
        return twin

    def forward(self, x: Tensor) -> Tensor:
        """Multiply.

        Args:
            x: [B, C]

        Returns:
            The product: [B, C].
        """
        if self.fault == "writes into its input":
            x.mul_(2.0)
        if self.fault == "remembers" and self.kept is None:
            self.kept = x.clone()
        if self.fault == "keeps a table of the dtype that it saw first":
            self.kept = torch.full((4,), 1 / 3, dtype=x.dtype) if self.kept is None else self.kept
            x = (x * self.kept).to(x.dtype)
        if self.fault == "keeps its input while it works":
            self.kept = x
            time.sleep(0.05)
            x = self.kept
        if self.fault == "mixes the batch":
            x = x + x.mean(dim=0)
        if self.fault == "counts its calls":
            self.calls += 1
        if self.fault == "has a lambda":
            self.kept = lambda: None
        y = x * self.weight
        if self.fault == "remembers":
            y = y + self.kept.mean()
        return y.T if self.fault == "turns its output" else y


class Broken:
    """A library with one faulty module."""

    name = "samblocks"

    def construct(self, block: str, kwargs: Any) -> nn.Module:
        return Faulty(**kwargs)

    def canonical(self, name: str) -> str:
        return name


def _broken(fault: str, names: Sequence[str] = ("one", "two")) -> Iterator[Case]:
    for rows, name in enumerate(names, start=2):
        yield Case(
            block="Faulty", name=name, why="x", kwargs={"fault": fault}, inputs={"x": uniform(rows, 4)}
        )


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("repeats", "writes into its input"),
        ("repeats", "counts its calls"),
        ("turns", "remembers"),
        ("dtypes", "keeps a table of the dtype that it saw first"),
        ("threads", "keeps its input while it works"),
        ("batches", "mixes the batch"),
        ("copies", "has a lambda"),
        ("copies", "shares its weight with copies"),
    ],
)
def test_a_fault_is_found(name: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manners, "own_library", Broken)
    assert list(violations(CONTRACTS[name], list(_broken("nothing")))) == []
    assert list(violations(CONTRACTS[name], list(_broken(fault)))) != []


@pytest.mark.parametrize("fault", ["nothing", "turns its output"])
def test_a_shape_that_the_docstring_does_not_promise_is_found(fault: str) -> None:
    module, x, shapes = Faulty(fault), torch.ones(3, 4), Shapes()
    shapes.call(module, (x,), {}, module(x))
    assert shapes.checked == 2
    assert bool(shapes.wrong) is (fault != "nothing")


def test_entries_join_alternatives() -> None:
    assert entries("masks: [B, M, 4H, 4W] logits. tokens: [B, M, C] or [B, 1, C], what") == [
        ["B, M, 4H, 4W"],
        ["B, M, C", "B, 1, C"],
    ]


@pytest.mark.parametrize(
    ("shape", "sizes", "bound", "fits"),
    [
        ("B, H, W, C", (2, 3, 4, 5), {}, True),
        ("B, H, W, C", (2, 3, 4), {}, False),
        ("B, 4H, 4W", (2, 12, 16), {"H": 3, "W": 4}, True),
        ("B, 4H, 4W", (2, 16, 12), {"H": 3, "W": 4}, False),
        ("B, H * W, C", (2, 12, 5), {"H": 3, "W": 4}, True),
        ("B, C/8, 4H", (2, 4, 12), {"C": 32, "H": 3}, True),
        ("..., C", (1, 2, 3, 5), {"C": 5}, True),
        ("..., C", (1, 2, 3, 4), {"C": 5}, False),
        ("B, ...", (7,), {"B": 7}, True),
        ("B, 256, H / 16", (1, 256, 5), {"H": 65}, True),
        ("B, H', W'", (1, 2, 3), {"H": 4, "W": 6}, True),
    ],
)
def test_sizes_fit_a_shape(shape: str, sizes: tuple[int, ...], bound: dict[str, int], fits: bool) -> None:
    assert (match(shape, sizes, bound, nn.Identity()) is not None) is fits


def test_every_contract_has_its_demand() -> None:
    assert list(DEMANDS) == list(CONTRACTS)
