"""Cases of SAM2Model at its edges: numbers on either side of each threshold and on it, and two answers for one frame.

Those called small are small enough for goldens: of a model at 64 pixels, masks, pointers and scores are compared.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from parity.cases import blind
from parity.cases.drive import Step, pictures, rectangles, tracked
from parity.cases.family import family, row
from parity.cases.sam2_settings import RELEASED, small_parts
from parity.cases.tracking import adjusted, following
from parity.execution.case import Side, Spec, literal, uniform

_SIZE = 64
_Adjust = Callable[[dict[str, Tensor]], None]
_COMPARED = ("pred_masks", "obj_ptr", "object_score_logits", "ious")

_PROMPTS: Mapping[str, Spec] = {
    "click": literal([[[15.0, 20.0]], [[45.0, 30.0]]]),
    "click_labels": literal([[1], [1]]),
    "box": literal([[[7.0, 10.0], [37.0, 42.0]], [[25.0, 15.0], [60.0, 50.0]]]),
    "box_labels": literal([[2, 3], [2, 3]]),
    "clicks": literal([[[22.0, 25.0], [50.0, 7.0]], [[5.0, 55.0], [32.0, 33.0]]]),
    "clicks_labels": literal([[1, 0], [0, 1]]),
    "three": literal([[[38.0, 17.0]], [[2.0, 48.0]], [[15.0, 28.0]]]),
    "three_labels": literal([[1], [1], [1]]),
    "mask": rectangles(_SIZE, _SIZE, (15, 10, 50, 37), (7, 25, 22, 55)),
    "faint": Spec((2, 1, _SIZE, _SIZE), lambda name, shape: 0.25 * _first_half(shape)),
}


def _first_half(shape: tuple[int, ...]) -> Any:
    """Ones in the upper half of the first mask, zeros elsewhere."""
    masks = torch.zeros(shape, dtype=torch.float64)
    masks[0, :, : shape[2] // 2] = 1.0
    return masks.numpy()


def _following(
    script: Sequence[Step], objects: int = 2, compared: Sequence[str] = _COMPARED
) -> Callable[[Side], dict[str, Tensor]]:
    """The call of a case that follows a script, and keeps some of its outputs."""

    def call(side: Side) -> dict[str, Tensor]:
        outputs = tracked(side, script, objects)
        return {name: value for name, value in outputs.items() if name in compared}

    return call


def _prompts(*names: str) -> dict[str, Spec]:
    return {key: spec for key, spec in _PROMPTS.items() if key.removesuffix("_labels") in names}


def _nobody_seen(outputs: Mapping[str, Tensor]) -> None:
    """Every score is exactly zero, and no object is seen."""
    assert bool((outputs["object_score_logits"] == 0).all()), "a score is not on the threshold"
    assert bool((outputs["pred_masks"] == blind.NO_OBJECT).all()), "an object is seen"


def _masks_on_the_threshold(outputs: Mapping[str, Tensor]) -> None:
    """Every logit of an object that is seen is exactly zero."""
    masks = outputs["pred_masks"]
    assert bool((masks == 0).any()), "no logit is on the threshold"
    assert bool(((masks == 0) | (masks == blind.NO_OBJECT)).all()), "a logit is beside the threshold"


def _losers_on_both_sides(outputs: Mapping[str, Tensor]) -> None:
    """Some losing logits fall to -10, and some lie below it and stay."""
    logits = outputs["random"]
    assert bool((logits == -10).any()), "no losing logit falls to -10"
    assert bool((logits < -10).any()), "no losing logit lies below -10"


def _zero(*parts: str) -> _Adjust:
    """Let the last layers of some heads give zeros, exactly."""

    def adjust(tensors: dict[str, Tensor]) -> None:
        for name in tensors:
            if any(part in name for part in parts):
                tensors[name] = torch.zeros_like(tensors[name])

    return adjust


def _in_turn(*changes: _Adjust) -> _Adjust:
    """Several changes of weights, one after the other."""

    def adjust(tensors: dict[str, Tensor]) -> None:
        for change in changes:
            change(tensors)

    return adjust


def _without_overlap(side: Side) -> Any:
    constrained = side.net._apply_non_overlapping_constraints
    return {name: constrained(side.inputs[name].clone()) for name in ("random", "ties")}


_HYPERNETWORKS = tuple(f"output_hypernetworks_mlps.{mask}.layers.2." for mask in range(4))
_CORRECTED = (
    Step(0, "click"),
    Step(1),
    Step(2),
    Step(2, "clicks", correct=True),
    Step(2, "box", correct=True),
    Step(3),
)
_BACK = (Step(4, "box"), *(Step(frame, reverse=True) for frame in (3, 2, 1, 0)))
_BOTH = (
    Step(0, "click"),
    Step(2),
    Step(2, "box", keep_tracked=True),
    Step(3),
    Step(3, "clicks", correct=True, keep_tracked=True),
    Step(5, "mask"),
    Step(4),
)

_SEEN = blind.both(blind.scores_have_both_signs, blind.masks_are_mixed, blind.steps_differ)

CASES = family(
    block="SAM2Model",
    kwargs={**small_parts(), **RELEASED, "image_size": _SIZE},
    inputs={"frames": pictures(6, 3, _SIZE, _SIZE)},
    bound=3.0,
    reason="a few steps give ten numbers as scores, and how exact upstream's happen to be is luck",
    bound64=1e-10,
).of(
    small_tracking=row(
        "a click, tracking, two corrections of one frame: the second finds the frame itself in memory",
        inputs=_prompts("click", "clicks", "box"),
        call=_following(_CORRECTED),
        adjust=adjusted(0.0),
        check=_SEEN,
    ),
    small_reverse=row(
        "backwards from a box on the last frame",
        inputs=_prompts("box"),
        call=_following(_BACK),
        adjust=adjusted(0.0),
        check=_SEEN,
    ),
    small_three_objects=row(
        "three objects that share no pixel of what is remembered",
        {"non_overlap_masks_for_mem_enc": True},
        _prompts("three"),
        call=_following((Step(0, "three"), Step(1), Step(2)), objects=3),
        # One object is not seen: of two, the memories would be equal, and so their masks.
        adjust=adjusted(-0.226),
        check=_SEEN,
    ),
    small_two_answers=row(
        "frames with two answers: what was tracked counts as neighbour, also where the prompted one is left out",
        {"max_cond_frames_in_attn": 2},
        _prompts("click", "clicks", "box", "mask"),
        call=_following(_BOTH, compared=_COMPARED[:3]),
        adjust=adjusted(0.0),
        check=_SEEN,
    ),
    prompt_ahead_in_training=row(
        "in training pointers of prompts to come are read, whatever the setting for evaluation says",
        inputs=_prompts("click", "box"),
        call=following((Step(0, "click"), Step(5, "box"), Step(1), Step(2))),
        train=True,
        check=blind.both(blind.masks_are_mixed, blind.steps_differ),
        adjust=adjusted(-1.0),
    ),
    scores_on_the_threshold=row(
        "a score of zero is no object: in the masks, in the pointer and in the memory",
        inputs=_prompts("click"),
        call=following((Step(0, "click"), Step(1))),
        adjust=_zero("pred_obj_score_head.layers.2."),
        check=_nobody_seen,
    ),
    logits_on_the_threshold=row(
        "a logit of zero is background where masks are made binary, and unstable where they are chosen",
        {"binarize_mask_from_pts_for_mem_enc": True},
        _prompts("click", "box"),
        call=following((Step(0, "click"), Step(1, "box"))),
        adjust=_in_turn(adjusted(-2.0), _zero(*_HYPERNETWORKS)),
        check=_masks_on_the_threshold,
    ),
    faint_mask=row(
        "a mask prompt of quarters shows an object: any pixel above zero counts",
        inputs=_prompts("faint"),
        call=following((Step(0, "faint"), Step(1))),
        check=blind.scores_have_both_signs,
        adjust=adjusted(0.0),
    ),
    losing_logits=row(
        "where another object wins, logits fall to -10, and those below stay; the first of equal ones wins",
        inputs={
            "random": uniform(3, 1, 8, 8, low=-25.0, high=10.0),
            "ties": literal([[[[2.0, -10.0, -12.0, 0.0]]], [[[2.0, -10.0, -30.0, -10.5]]]]),
        },
        call=_without_overlap,
        check=_losers_on_both_sides,
        exact=True,
        bound=2.0,
        bound64=1e-12,
    ),
)
