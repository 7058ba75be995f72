"""A reference's answer on one case, and who can give one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from parity.execution.case import Case
from parity.workers.registry import Reference


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        status: "ok", "no counterpart" or "raised".
        message: what is missing, or what was raised.
        outputs: output tensors by path.
        state: canonical names and shapes of the module's tensors, empty where they are not known.
        matmul_error: `samblocks.numerics.matmul.matmul_error` where the reference ran, if that is known.
    """

    status: str
    message: str
    outputs: dict[str, Tensor]
    state: tuple[tuple[str, tuple[int, ...]], ...]
    matmul_error: float | None = None


class Answering(Protocol):
    """A worker, or goldens that stand in for one."""

    @property
    def reference(self) -> Reference:
        """Which reference answers."""
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the reference's packages and of its torch."""
        ...

    def execute(
        self,
        case: Case,
        inputs: Mapping[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        autocast: torch.dtype | None = None,
        lift: bool | str = False,
        weights: Path | None = None,
    ) -> Reply:
        """Run `case`; see `parity.execution.execute.execute`."""
        ...
