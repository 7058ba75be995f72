"""How cases drive predictors: a picture once, then prompts, and what makes their answers comparable.

A mask is a decision, and where a logit is within rounding of the threshold it may fall either way. So masks are
compared as the distance of their logits from the threshold, with the sign of what was decided: a pixel that flips
where rounding cannot explain it is an error of twice its distance.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.cases.calls import Call
from parity.cases.drive import recorded
from parity.execution.case import NoCounterpart, Side

Prompt = Mapping[str, Any]
"""Arguments of `predict`."""


def decided(masks: Any, logits: Any, threshold: float = 0.0) -> Tensor:
    """Logits' distances from a threshold, above zero where the mask is.

    Args:
        masks: [..., H, W], bool, or zeros and ones.
        logits: [..., H, W].
        threshold: what they are decided by.
    """
    distance = (torch.as_tensor(logits) - threshold).abs()
    return torch.where(torch.as_tensor(masks) > 0.5, distance, -distance)


def asked(predictor: Any, prompts: Mapping[str, Prompt], threshold: float = 0.0) -> dict[str, Any]:
    """Answers of a predictor that has a picture: masks, low-resolution logits, and all qualities in one tensor."""
    found: dict[str, Any] = {}
    ious = []
    for name, prompt in prompts.items():
        masks, iou, low_res = predictor.predict(**prompt)
        logits, _, _ = predictor.predict(**prompt, return_logits=True)
        found[name] = {
            "masks": decided(masks, logits, threshold),
            "are_bool": masks.dtype == np.bool_,
            "low_res": torch.as_tensor(low_res),
        }
        ious.append(torch.as_tensor(iou).flatten())
    return found | {"ious": torch.cat(ious)}


def pictured(
    predictor: str, prompts: Mapping[str, Prompt], *, threshold: float = 0.0, **settings: Any
) -> Call:
    """Make a predictor by its name, give it the input `picture`, and ask; see `asked`.

    Args:
        predictor: "SamPredictor" or "SAM2ImagePredictor".
        prompts: arguments of `predict`, by the names that outputs get; a value that is the name of an input is it.
        threshold: what masks are decided by.
        **settings: of the predictor; "image_format" is `set_image`'s.
    """

    def call(side: Side) -> Any:
        given = dict(settings)
        options = {"image_format": given.pop("image_format")} if "image_format" in given else {}
        made = side.library.function(predictor)(side.net, **given)
        made.set_image(side.inputs["picture"].numpy(force=True), **options)
        return asked(made, _filled_in(prompts, side), threshold)

    return call


def encoder_arguments(predictor: str, encoder: str, prompts: Mapping[str, Prompt]) -> Call:
    """What a predictor tells its prompt encoder: coordinates, labels and boxes of each of some prompts.

    Args:
        predictor: see `pictured`.
        encoder: what the model calls its prompt encoder.
        prompts: see `pictured`.
    """

    def call(side: Side) -> Any:
        made = side.library.function(predictor)(side.net)
        made.set_image(side.inputs["picture"].numpy(force=True))
        found: dict[str, Any] = {}
        for name, prompt in _filled_in(prompts, side).items():
            with recorded(side.net, (encoder,)) as calls:
                made.predict(**prompt)
            if encoder not in calls.arguments:
                raise NoCounterpart("does not call its prompt encoder by itself")
            given = calls.arguments[encoder]
            points = given["points"]
            found[name] = {
                "coords": None if points is None else points[0],
                "labels": None if points is None else points[1],
                "boxes": None if given["boxes"] is None else given["boxes"].reshape(-1, 4),
            }
        return found

    return call


def masks_are_mixed(outputs: Mapping[str, Tensor]) -> None:
    """All masks have 5 to 95 % foreground, but for a quarter of them, and no two are equal."""
    masks = [mask for name, value in outputs.items() if name.endswith("masks") for mask in _each(value)]
    shares = [round(float((mask > 0).double().mean()), 3) for mask in masks]
    mixed = sum(0.05 < share < 0.95 for share in shares)
    assert shares, "there are no masks"
    assert mixed >= 0.75 * len(shares), f"only {mixed} of {len(shares)} masks are mixed: {shares}"
    for i, mask in enumerate(masks):
        assert not any(torch.equal(mask, other) for other in masks[:i] if other.shape == mask.shape), (
            "equal masks"
        )


def _each(masks: Tensor) -> list[Tensor]:
    return list(masks.flatten(0, -3))


def _filled_in(prompts: Mapping[str, Prompt], side: Side) -> dict[str, dict[str, Any]]:
    """The prompts, with names of inputs replaced by their values."""
    return {
        name: {
            key: side.inputs[value].numpy(force=True) if isinstance(value, str) else value
            for key, value in prompt.items()
        }
        for name, prompt in prompts.items()
    }
