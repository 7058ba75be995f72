"""Meta's mask generators with the settings that the bench gives every library's; runs where these packages are."""

from typing import Any

from parity.bench.generator import SETTINGS
from parity.references.hosts import nms


def generator(model: Any, side: int) -> Any:
    """The generator for a model of Meta's."""
    nms.provide()
    if not hasattr(model, "sam_mask_decoder"):
        from segment_anything import SamAutomaticMaskGenerator

        return SamAutomaticMaskGenerator(model, **SETTINGS)
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    made = SAM2AutomaticMaskGenerator(model, **SETTINGS)
    made.predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in (4, 8, 16)]
    return made
