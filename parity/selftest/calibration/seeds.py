"""Other weights and inputs for a case: the same streams under salted names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import safetensors.torch
from torch import Tensor

from parity.execution import fill
from parity.execution.case import Case
from parity.execution.execute import prepare
from parity.run.samblocks_library import library


def salted_inputs(case: Case, salt: str) -> dict[str, Tensor]:
    """The case's inputs, drawn from other streams; those that are written out stay."""
    return {name: spec.tensor(f"{salt}:{case.id}:{name}") for name, spec in case.inputs.items()}


@contextmanager
def salted_weights(case: Case, salt: str) -> Iterator[tuple[Mapping[str, Tensor] | None, Path | None]]:
    """Other weights, and a file with them for the workers; neither for a function. Integers stay."""
    if case.is_function:
        yield None, None
        return
    module, _ = prepare(case, library())
    weights = {
        name: fill.tensor(f"{salt}.{name}", value.shape) if value.is_floating_point() else value.clone()
        for name, value in module.state_dict().items()
    }
    if not weights:
        yield None, None
        return
    with TemporaryDirectory(prefix="parity-") as folder:
        file = Path(folder) / "weights.safetensors"
        safetensors.torch.save_file(weights, file)
        yield weights, file
