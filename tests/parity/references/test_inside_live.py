"""Blocks without an adapter of their own: in a whole model a mistake in one is found where it was made."""

from collections.abc import Iterator

import pytest
from torch import Tensor, nn

from parity.cases import all_cases
from parity.commands.diverge import traced
from parity.execution.case import NoCounterpart
from parity.execution.execute import prepare
from parity.references.transformers.inside import BUILDERS, FUNCTIONS, INSIDE
from parity.references.transformers.library import Transformers
from parity.run.samblocks_library import library
from parity.workers.client import Client, interpreter
from parity.workers.registry import REFERENCES


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    with Client(REFERENCES["transformers"], python) as started:
        yield started


@pytest.mark.live
@pytest.mark.parametrize("case", sorted({case for case, _ in INSIDE.values()}))
def test_a_block_is_judged_inside_a_whole_model_and_its_mistakes_are_found_there(
    client: Client, case: str
) -> None:
    places = {block: path for block, (where, path) in INSIDE.items() if where == case}
    with traced(all_cases()[case], client) as judge:
        report = judge(None)
        held = {tap.name for tap in report.taps} - {tap.name for tap in report.taps if tap.failed}
        assert set(places.values()) <= held
        for block, path in places.items():

            def spoil(module: nn.Module, path: str = path) -> None:
                module.get_submodule(path).register_forward_hook(_larger)

            culprits = {culprit.tap.name for culprit in judge(spoil).culprits}
            assert path in culprits, f"{block}: {culprits}"


def _larger(module: nn.Module, args: object, result: Tensor | tuple[Tensor, ...]) -> object:
    """A thousandth too much."""
    if isinstance(result, tuple):
        return (result[0] * 1.001, *result[1:])
    return result * 1.001


@pytest.mark.parametrize("block", INSIDE)
def test_a_place_holds_the_block(block: str) -> None:
    case, path = INSIDE[block]
    module, _ = prepare(all_cases()[case], library())
    assert type(module.get_submodule(path)).__name__ == block


@pytest.mark.parametrize("block", INSIDE)
def test_by_itself_a_block_says_where_it_is_judged(block: str) -> None:
    described = BUILDERS[block]({"dim": 16})
    with pytest.raises(NoCounterpart, match=f"{block} is compared inside whole models: .*{INSIDE[block][0]}"):
        described.state_dict()


def test_so_does_a_function_that_such_a_block_calls() -> None:
    for name, block in FUNCTIONS.items():
        with pytest.raises(NoCounterpart, match=f"{name} is compared .*judges {block} at {INSIDE[block][1]}"):
            Transformers().function(name)
