"""Working precisions: a dtype of weights and inputs, or float32 under autocast."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """How both sides of a case are run.

    Attributes:
        dtype: of weights and inputs.
        autocast: the dtype that `torch.autocast` chooses for what bears it, as most users run SAM 2; None without.
    """

    dtype: torch.dtype
    autocast: torch.dtype | None = None

    @property
    def name(self) -> str:
        """What it is called on the command line and in reports."""
        chosen = str(self.autocast or self.dtype).removeprefix("torch.")
        return f"autocast-{chosen}" if self.autocast else chosen

    @property
    def low(self) -> bool:
        """Whether numbers have fewer than 24 bits."""
        return self.autocast is not None or self.dtype.itemsize < 4


SINGLE, DOUBLE = Precision(torch.float32), Precision(torch.float64)

PRECISIONS = {
    precision.name: precision
    for precision in (
        SINGLE,
        DOUBLE,
        Precision(torch.bfloat16),
        Precision(torch.float16),
        Precision(torch.float32, torch.bfloat16),
        Precision(torch.float32, torch.float16),
    )
}
"""All of them by name."""


def of(precision: Precision | torch.dtype) -> Precision:
    """A plain dtype as a precision."""
    return precision if isinstance(precision, Precision) else Precision(precision)
