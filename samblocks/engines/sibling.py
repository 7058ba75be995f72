"""Eager computed another way: what its own kernels for more rows give, as a sibling in the yardstick of an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

ROWS = 16
"""How many rows a product with fewer gets."""


class ManyRows(TorchFunctionMode):
    """Let linear layers see at least 16 rows while the with block lasts.

    For a few rows the library of products keeps several partial sums of a row and is three times as precise as for
    many, where it sums in one chain, as engines do for any number. Both are float32's; a model is not less precise
    because its rows come alone.

    Examples:
        >>> x, weight = torch.arange(6.0).view(2, 3), torch.eye(3)
        >>> with ManyRows():
        ...     functional.linear(x, weight)
        tensor([[0., 1., 2.],
                [3., 4., 5.]])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Compute a linear layer with rows of zeros below its own, and everything else as it is."""
        if func is functional.linear and not kwargs:
            x, *rest = args
            rows = x.reshape(-1, x.shape[-1])
            if 0 < len(rows) < ROWS:
                more = torch.cat((rows, rows.new_zeros(ROWS - len(rows), rows.shape[1])))
                found: Tensor = functional.linear(more, *rest)[: len(rows)]
                return found.reshape(*x.shape[:-1], found.shape[-1])
        return func(*args, **(kwargs or {}))
