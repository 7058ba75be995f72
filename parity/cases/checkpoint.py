"""The stages that a checkpoint is tried in, at full size, on photographs: one case for each released model.

Image encoder, prompt encoder and mask decoder with clicks, boxes and earlier logits; for SAM 2 three different
frames tracked as well, with two objects. They run on weights from a file; two of them, the smallest of SAM 1 and
of SAM 2.1, also belong to a full run, on filled weights and on the photographs that ship with parity.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from parity.cases import images
from parity.cases.blind import NO_OBJECT
from parity.cases.drive import Step, tracked
from parity.cases.hq import MASKS_DIFFER
from parity.cases.two_way import EPS_DIFFERS
from parity.execution import pictures
from parity.execution.case import Case, Side, Spec
from parity.execution.sizes import LETTERS

SIZE = 1024
"""Side of the released models' images, in pixels."""

_SCRIPT = (Step(0, "clicks"), Step(1), Step(2))


def photograph(size: int, picture: np.ndarray | None = None, *, square: bool) -> Spec:
    """The photograph [1, 3, size, size]; by default the one that ships with parity."""

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        given = pictures.read(pictures.PHOTOGRAPH) if picture is None else picture
        prepared = pictures.for_sam2([given], size) if square else pictures.for_sam(given, size)
        return prepared.numpy()

    return Spec((1, 3, size, size), values)


def _frames(size: int) -> Spec:
    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        return pictures.for_sam2([pictures.read(path) for path in pictures.FRAMES], size).numpy()

    return Spec((len(pictures.FRAMES), 3, size, size), values)


def inputs(variant: str, size: int = SIZE, picture: np.ndarray | None = None) -> dict[str, Spec]:
    """The inputs of a model's stages.

    Args:
        variant: one of the released models.
        size: side of the model's images in pixels.
        picture: a photograph in place of the one that ships, [H, W, 3], uint8.
    """
    sam2 = variant.startswith("sam2")
    given = {**images.inputs(size), "image": photograph(size, picture, square=sam2)}
    return given | {"frames": _frames(size)} if sam2 else given


def _stages(side: Side) -> dict[str, Any]:
    return {"image": images.sam2(side), "frames": tracked(side, _SCRIPT)}


def _something_shows(outputs: Mapping[str, Tensor]) -> None:
    """Not every mask is empty: then nothing could be seen in them."""
    masks = [value for path, value in outputs.items() if path.endswith(("/masks", "/pred_masks"))]
    assert any(float(mask.max()) > 0 > float(mask.min()) > NO_OBJECT for mask in masks), "no mask is mixed"


def case(variant: str, size: int = SIZE) -> Case:
    """The stages of one released model."""
    sam2, hq = variant.startswith("sam2"), variant.startswith("sam_hq")
    return Case(
        block="SAM2Model" if sam2 else "SAMModelHQ" if hq else "SAMModel",
        name=f"stages_{variant}",
        why=f"{variant}: the whole way from a photograph to masks, at full size, with a checkpoint's weights",
        variant=variant,
        # Against Ultralytics too, 2.0 is run as its weights were trained: see the cases of tracking.
        kwargs={"add_tpos_enc_to_obj_ptrs": False} if variant.startswith("sam2_") else {},
        image_size=size,
        inputs=inputs(variant, size),
        call=_stages if sam2 else images.sam_hq if hq else images.sam,
        bound=3.0,
        reason="three frames give six scores, and how exact upstream's happen to be is luck",
        double=False,
        known={}
        if sam2 or variant in ("mobile_sam", "sam_hq_vit_tiny")
        else MASKS_DIFFER
        if hq
        else EPS_DIFFERS,
        check=_something_shows,
        quick=False,
    )


_VARIANTS = (
    *("mobile_sam", "sam_vit_b", "sam_vit_l", "sam_vit_h"),
    *(f"{version}_hiera_{size}" for version in ("sam2", "sam2.1") for size in LETTERS),
    *("slimsam_50", "slimsam_77", "sam_hq_vit_b", "sam_hq_vit_l", "sam_hq_vit_h", "sam_hq_vit_tiny"),
)

STAGES = {variant: case(variant) for variant in _VARIANTS}
"""The stages of every released model; all can be asked for by name."""

CASES = (STAGES["sam_vit_b"], STAGES["sam2.1_hiera_tiny"])
"""Those that a full run has."""
