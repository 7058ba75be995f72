"""Cases of what happens before and after a model: a photograph to its input, and masks back to the photograph.

Libraries resize pictures in different ways, and that moves the input by far more than any block does: here is by how
much, so that nobody looks for it in a model.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from parity.cases.calls import function
from parity.cases.drive import pictures
from parity.cases.imitated_pictures import fitted, given, inside
from parity.cases.imitations import instead
from parity.execution.case import Case, Known, Side, Spec, uniform

_SIZE = 96


def picture(height: int, width: int) -> Spec:
    """A picture [H, W, 3], uint8, with structure at several scales."""
    made = pictures(3, height, width)

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        levels = 128 + 57 * made.values(name, made.shape)
        picture: np.ndarray = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        return picture.transpose(1, 2, 0)

    return Spec((height, width, 3), values)


def _is_a_picture(outputs: Mapping[str, Tensor]) -> None:
    spread = float(outputs["out"].std())
    assert spread > 0.3, f"the input has a spread of {spread:.2f} only"


def _image(block: str, name: str, shape: tuple[int, int], why: str, **changes: Any) -> Case:
    return Case(
        block=block,
        name=name,
        why=why,
        inputs={"picture": picture(*shape)},
        double=False,
        check=_is_a_picture,
        **{"call": function(block, _SIZE), **changes},
    )


def _masks(name: str, size: tuple[int, int], why: str) -> Case:
    cut = Known(
        cause="its pictures keep their shape in the input, so it cuts off what filled it up",
        imitation=given("masks", partial(inside, size=size)),
        shown="ours given what is left",
    )
    return Case(
        block="masks_for_picture",
        name=name,
        why=why,
        inputs={"masks": uniform(2, 3, 24, 24, low=-4.0, high=4.0)},
        call=function("masks_for_picture", size),
        known={} if size[0] == size[1] else {"ultralytics": cut},
    )


def _from_tensor(side: Side) -> Any:
    """Meta has a second way, for tensors; the others have one."""
    name = "image_for_sam_from_tensor" if side.library.name == "meta" else "image_for_sam"
    return side.library.function(name)(side.inputs["picture"], _SIZE)


def _by_pillow(side: Side) -> Any:
    resized = side.library.function("pixels_for_sam")(side.inputs["picture"], _SIZE)
    return side.library.function("image_for_sam")(resized, _SIZE)


def _as_of_one_by_three(picture: Tensor) -> Tensor:
    """A picture resized to the size that one of one by three pixels would have."""
    pixels = picture.permute(2, 0, 1)[None].float()
    resized = interpolate(pixels, (_SIZE // 3, _SIZE), mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0)


def _in_a_square(picture: Tensor) -> Tensor:
    return torch.from_numpy(fitted(picture.numpy(force=True), _SIZE))


_PILLOW = {
    "meta": Known(
        cause="its predictor resizes with Pillow, in whole grey levels; ours in real numbers",
        imitation=instead(_by_pillow),
        shown="ours given what Pillow's rule makes of the picture",
    )
}
_LETTERBOX = {
    "ultralytics": Known(
        cause="it resizes with OpenCV, without smoothing, in whole grey levels, and fills up with grey 114, for SAM 2 "
        "too, where Meta stretches the picture to a square",
        imitation=given("picture", _in_a_square),
        shown="ours given such a square",
    )
}

CASES = (
    _image(
        "image_for_sam",
        "photograph",
        (150, 200),
        "the longer side fits, zeros fill up below; by how much the predictors' inputs differ from ours",
        known={**_PILLOW, **_LETTERBOX},
    ),
    _image(
        "image_for_sam",
        "tensor",
        (200, 133),
        "upright, zeros at the right, and a side that has to be rounded, through the transform for tensors",
        call=_from_tensor,
        known={
            "meta": Known(
                cause="its transform for tensors takes the batch and the channels for height and width",
                imitation=given("picture", _as_of_one_by_three),
                shown="ours given the picture resized so",
            ),
            **_LETTERBOX,
        },
    ),
    _image(
        "image_for_sam2",
        "photograph",
        (150, 200),
        "a square whatever the picture's shape, smoothed where it shrinks",
        known=_LETTERBOX,
    ),
    _image("image_for_sam2", "enlarged", (60, 48), "a small picture is enlarged", known=_LETTERBOX),
    _masks("enlarged", (150, 200), "logits to the picture's size, whatever its shape"),
    _masks("shrunk", (17, 11), "a picture smaller than the masks: they are not smoothed"),
    _masks("square", (150, 150), "logits to the size of a picture that filled the input"),
)
