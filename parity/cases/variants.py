"""Cases of the released models, whole: SAM 2 at 256 pixels, SAM 1 and what comes from it at 512."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from parity.cases import images
from parity.cases.hq import MASKS_DIFFER
from parity.cases.two_way import EPS_DIFFERS
from parity.execution.case import Case, NoCounterpart, Side
from parity.execution.sizes import LETTERS


def _masks_are_mixed(outputs: Mapping[str, Tensor]) -> None:
    """Most masks have 5 to 95 % foreground, and prompts of a kind differ in theirs."""
    shares = []
    for name in ("click", "box", "again"):
        masks = outputs[f"{name}/masks"]
        shares += [float((mask > 0).double().mean()) for mask in masks.flatten(0, 1)]
        assert not any(bool((masks[0] == other).all()) for other in masks[1:]), f"{name}: equal masks"
    mixed = sum(0.05 < share < 0.95 for share in shares)
    assert mixed >= 0.5 * len(shares), f"only {mixed} of {len(shares)} masks are mixed: {shares}"


_SAM = tuple(
    Case(
        block="SAMModel",
        name=variant,
        why=f"{variant} as released, on one image, with clicks, boxes and clicks on earlier logits",
        variant=variant,
        image_size=512,
        inputs=images.inputs(512),
        call=images.sam,
        bound64=1e-10,
        check=_masks_are_mixed,
        known={} if variant == "mobile_sam" else EPS_DIFFERS,
        quick=variant == "mobile_sam",
    )
    for variant in ("mobile_sam", "sam_vit_b", "sam_vit_l", "sam_vit_h")
)

_SAM2 = tuple(
    Case(
        block="SAM2Model",
        name=f"{version}_hiera_{size}",
        why=f"{version}_hiera_{size} as released, on one image, with clicks, boxes and clicks on earlier logits",
        variant=f"{version}_hiera_{size}",
        image_size=256,
        inputs=images.inputs(256),
        call=images.sam2,
        bound64=1e-10,
        check=_masks_are_mixed,
        quick=size == "tiny",
    )
    for version in ("sam2", "sam2.1")
    for size in LETTERS
)


def _wide(side: Side) -> dict[str, Any]:
    """SAM 2 on an image that is wider than high, after `set_imgsz`."""
    if not hasattr(side.net, "set_imgsz"):
        raise NoCounterpart("cannot change the size of its images")
    side.net.set_imgsz([128, 192])
    return images.sam2(side)


_WIDE = (
    Case(
        block="SAM2Model",
        name="sam2.1_hiera_tiny_wide",
        why="sam2.1_hiera_tiny on an image of 128 by 192 pixels: tables, grids and coordinates by their own sides",
        variant="sam2.1_hiera_tiny",
        inputs=images.inputs(128, 192),
        call=_wide,
        bound64=1e-10,
    ),
)

_SLIM = tuple(
    Case(
        block="SAMModel",
        name=variant,
        why=f"{variant}: SAM's smallest with a pruned encoder, on one image, with clicks, boxes and earlier logits",
        variant=variant,
        image_size=512,
        inputs=images.inputs(512),
        call=images.sam,
        bound64=1e-10,
        check=_masks_are_mixed,
        known=EPS_DIFFERS,
        quick=False,
    )
    for variant in ("slimsam_50", "slimsam_77")
)

_HQ = tuple(
    Case(
        block="SAMModelHQ",
        name=variant,
        why=f"{variant} as released, on one image: masks corrected by HQ-SAM's token, and those of it alone",
        variant=variant,
        image_size=size,
        inputs=images.inputs(size),
        call=images.sam_hq,
        bound64=1e-10,
        known={} if variant == "sam_hq_vit_tiny" else MASKS_DIFFER,
        quick=False,
    )
    for variant, size in (("sam_hq_vit_b", 512), ("sam_hq_vit_tiny", 1024))
)

CASES = _SAM + _SAM2 + _WIDE + _SLIM + _HQ
