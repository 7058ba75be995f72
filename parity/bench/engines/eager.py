"""The library's code as it is."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor


def ready(work: Callable[..., Any], inputs: Mapping[str, Tensor], threads: int) -> Callable[[], Any]:
    """A call of the work on its inputs."""
    given = tuple(inputs.values())
    return lambda: work(*given)
