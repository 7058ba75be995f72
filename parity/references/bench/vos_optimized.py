"""sam2's own compiled video predictor (`vos_optimized=True`), by its own settings."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from parity.execution import fill
from parity.references.meta.models import config


def model(variant: str, side: int) -> nn.Module:
    """The whole predictor, filled; its parts are compiled when they are first called."""
    from sam2.build_sam import build_sam2_video_predictor

    built: nn.Module = build_sam2_video_predictor(
        config(variant),
        None,
        device="cuda" if torch.cuda.is_available() else "cpu",
        hydra_overrides_extra=[f"++model.image_size={side}", "++model.fill_hole_area=0"],
        vos_optimized=True,
    )
    return fill.fill_(built).eval()


def ready(work: Callable[..., Any], inputs: Mapping[str, Tensor], threads: int) -> Callable[[], Any]:
    """A call of the work on its inputs."""
    given = tuple(inputs.values())
    return lambda: work(*given)
