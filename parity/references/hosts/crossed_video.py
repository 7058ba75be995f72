"""Meta's model inside our predictor of videos, and ours inside Meta's: the same scripts, in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from parity.cases import all_cases
from parity.execution.case import Library
from parity.execution.execute import execute
from parity.references.meta.library import library
from parity.run.samblocks_library import Own
from samblocks.predict import VideoPredictor


class Crossed:
    """Models of one library, drivers of another.

    Args:
        models: whose models.
        name: whose drivers, by which cases know what they can ask.
        drivers: makes the predictor.
    """

    def __init__(self, models: Library, name: str, drivers: Callable[..., Any]) -> None:
        self.name, self._models, self._drivers = name, models, drivers

    def construct(self, block: str, kwargs: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        return self._models.construct(block, kwargs)

    def function(self, name: str) -> Callable[..., Any]:
        """The predictor, whatever the name."""
        return self._drivers

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        return self._models.model(variant, image_size, options)

    def canonical(self, name: str) -> str:
        """Both have Meta's names."""
        return name


def respond(
    request: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Run a case in three ways; outputs are named "meta/...", "metas_model/..." and "metas_driver/..."."""
    torch.set_num_threads(1)
    case, meta = all_cases()[request["case"]], library()
    one_by_one = partial(_one_by_one, VideoPredictor)
    ways: dict[str, Library] = {
        "meta": meta,
        "metas_model": Crossed(meta, "samblocks", one_by_one),
        "metas_driver": Crossed(Own(), "meta", meta.function("SAM2VideoPredictor")),
    }
    made: dict[str, Tensor] = {}
    for way, chosen in ways.items():
        outputs = execute(case, chosen, case.tensors()).outputs
        made |= {f"{way}/{path}": value for path, value in outputs.items()}
    return {}, made


def _one_by_one(predictor: Callable[..., Any], model: nn.Module, **settings: Any) -> Any:
    return predictor(model, **{**settings, "batch_objects": False})
