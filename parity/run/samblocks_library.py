"""Our own blocks and models as a library that cases can run on."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from parity import package
from parity.execution.case import NoCounterpart
from parity.workers.registry import Reference

SELF = Reference("samblocks", "parity.run.samblocks_library", ())
"""Our blocks behind a worker, as if they were upstream's: how the harness's own tests run without references."""

OURS = {"samblocks": package.ROOT / "samblocks"}
"""What such a worker must be able to import."""


class Own:
    """samblocks as a `parity.execution.case.Library`."""

    name = "samblocks"

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        """A block or model by its class name."""
        module: nn.Module = self._find(block)(**kwargs)
        return module

    def function(self, name: str) -> Callable[..., Any]:
        """A function of `samblocks.blocks`."""
        function: Callable[..., Any] = self._find(name)
        return function

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """A variant, assembled for the given image size with options set."""
        from samblocks.models.build import assemble

        return assemble(variant, image_size=image_size, **options)

    def canonical(self, name: str) -> str:
        """Our names are Meta's."""
        return name

    def _find(self, name: str) -> Any:
        from parity.execution import generators, predictors, processing
        from samblocks import blocks, models, predict

        for home in (blocks, models, predict, generators, predictors, processing):
            if hasattr(home, name):
                return getattr(home, name)
        raise NoCounterpart(f"samblocks has no {name}")


def library() -> Own:
    """The entry point that a worker calls."""
    return Own()
