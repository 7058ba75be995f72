"""Import an upstream package, measured; runs in the references' environment."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from parity.bench import imports
from parity.references.common import torchvision_operators


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Import a module, when the operators that torchvision may lack are there."""
    torchvision_operators.declare_missing()
    return imports.respond(request, tensors)
