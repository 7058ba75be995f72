"""Further draws of weights and inputs, by which a first alarm is decided; see `samblocks.numerics.draws`.

Weights and inputs of a draw follow from their names and the draw's number. Weights that somebody gave stay: then
inputs alone vary.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import safetensors.torch
import torch
from torch import Tensor

from parity.execution import fill
from parity.execution.case import Case, Library
from parity.execution.execute import prepare
from samblocks.numerics.draws import vary


@dataclass(frozen=True)
class Draw:
    """What a case runs on in one draw.

    Attributes:
        number: which one, from 1.
        inputs: input tensors by name.
        weights: tensors by canonical name; None where the module has none, or those that were given stay.
        file: the same in a file, for the workers.
    """

    number: int
    inputs: Mapping[str, Tensor]
    weights: Mapping[str, Tensor] | None = None
    file: Path | None = None


@contextmanager
def drawn(case: Case, number: int, library: Library) -> Iterator[Draw | None]:
    """Other weights and inputs of a case whose values follow from names; None where nothing of it varies.

    Args:
        case: which one.
        number: of the draw, from 1.
        library: ours, whose module tells the names and shapes of the weights.
    """
    inputs = drawn_inputs(case, number)
    with drawn_weights(case, number, library) as (weights, file):
        before = case.tensors()
        varies = weights is not None or any(not torch.equal(inputs[name], before[name]) for name in inputs)
        yield Draw(number, inputs, weights, file) if varies else None


def drawn_inputs(case: Case, number: int) -> dict[str, Tensor]:
    """The case's inputs, drawn from other streams; those that are written out stay."""
    return {name: spec.tensor(f"draw{number}:{case.id}:{name}") for name, spec in case.inputs.items()}


@contextmanager
def drawn_weights(
    case: Case, number: int, library: Library
) -> Iterator[tuple[Mapping[str, Tensor] | None, Path | None]]:
    """Other weights, and a file with them for the workers; neither for a function. Integers stay."""
    if case.is_function:
        yield None, None
        return
    module, _ = prepare(case, library)
    weights = {
        name: fill.tensor(f"draw{number}.{name}", value.shape) if value.is_floating_point() else value.clone()
        for name, value in module.state_dict().items()
    }
    if not weights:
        yield None, None
        return
    with TemporaryDirectory(prefix="parity-") as folder:
        file = Path(folder) / "weights.safetensors"
        safetensors.torch.save_file(weights, file)
        yield weights, file


def varied(inputs: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """Given inputs in a draw: x · (1 + u / 8), u uniform in [−1, 1] by name and number; integers stay.

    Args:
        inputs: tensors by name.
        number: of the draw, from 1.
    """
    return {name: vary(value, f"draw{number}:{name}") for name, value in inputs.items()}
