"""Cases that transformers' and Ultralytics' predictors are asked, too: pictures and clips of the model's own size.

So nothing is resized, where each library has a rule of its own; what else they do in another way is a case each.
Prompts are such as all of them take, and no holes are filled.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from parity.cases.calls import Check
from parity.cases.family import Row, family, row
from parity.cases.filming import Say, box, click, filmed, mask, objects_are_seen, track
from parity.cases.imitated_films import (
    corrections_prompt_every_object,
    masks_are_remembered_as_given,
    pointers_go_with_memories,
    prompts_are_remembered_as_they_are,
)
from parity.cases.imitations import Imitation, during, instead, pointer_of_the_best, without_earlier_masks
from parity.cases.predicting import masks_are_mixed, pictured
from parity.cases.predictors import SAM2_PARTS, SAM_PARTS
from parity.cases.processing import picture
from parity.cases.two_way import EPS_DIFFERS
from parity.cases.video import FILMS, clip, rectangle, seeing
from parity.execution.case import Case, Known

_PROMPTS: dict[str, Any] = {
    "click": {"point_coords": np.array([(39.0, 20.0)]), "point_labels": np.array([1])},
    "clicks": {
        "point_coords": np.array([(39.0, 20.0), (8.0, 55.0)]),
        "point_labels": np.array([1, 0]),
        "multimask_output": False,
    },
}
_BOX: dict[str, Any] = {"box": {"box": np.array([9.0, 13.0, 52.0, 60.0]), "multimask_output": False}}

_PICTURES = family(kwargs=SAM_PARTS, block="SAMModel", bound64=1e-10, check=masks_are_mixed).of(
    predictor_own_size=row(
        "a picture of the model's size, with a click, and with two for one mask",
        inputs={"picture": picture(64, 64)},
        call=pictured("SamPredictor", _PROMPTS),
        known=EPS_DIFFERS,
    )
) + family(kwargs=SAM2_PARTS, block="SAM2Model", bound64=1e-10, check=masks_are_mixed).of(
    predictor_own_size=row(
        "a picture of the model's size, with a click, with two for one mask, and with a box",
        inputs={"picture": picture(128, 128)},
        call=pictured("SAM2ImagePredictor", _PROMPTS | _BOX),
    )
)


_SIZE, _FRAMES = 128, 6
_TWO = (click(0, 1, (40.0, 70.3)), box(0, 2, 17.0, 18.5, 101.2, 90.0))


def _film(
    why: str,
    script: Sequence[Say],
    *,
    frames: int = _FRAMES,
    threshold: float,
    inputs: Any = None,
    check: Callable[[Sequence[Say]], Check] = objects_are_seen,
    **settings: Any,
) -> Row:
    fields = {key: settings.pop(key) for key in ("known", "quick") if key in settings}
    return row(
        why,
        SAM2_PARTS,
        {"frames": clip(frames, _SIZE, _SIZE), **(inputs or {})},
        call=filmed(script, fill_hole_area=0, **settings),
        adjust=seeing(threshold, 4.0),
        check=check(script),
        **fields,
    )


_CLICK = (click(0, 1, (40.0, 70.3)), track())
_CLICKS = (click(0, 1, (90.0, 30.0), labels=(0,)), click(0, 2, (20.0, 60.0)), track())
"""Logits of the two differ by 1.6e-4 or more in every pixel: rounding gives none of them to the other object."""


def _filmed_otherwise(script: Sequence[Say], **settings: Any) -> Imitation:
    return instead(filmed(script, fill_hole_area=0, answers=False, **settings))


def _tracked_as_ultralytics(case: Case) -> Case:
    stored = _filmed_otherwise(_CLICK, memory_dtype=torch.float16)(case)
    return during(prompts_are_remembered_as_they_are, pointers_go_with_memories(8))(stored)


def _clicked(why: str, script: Sequence[Say], frames: int, known: Known) -> Row:
    """A film that Ultralytics' tracker takes, too, and tracks in another way."""
    return _film(
        why,
        script,
        frames=frames,
        answers=False,
        check=partial(objects_are_seen, answers=False),
        quick=False,
        threshold=-1.0,
        known={"ultralytics": known},
    )


_FILMS = FILMS.of(
    film_own_size=_film(
        "frames of the model's size: a click and a box in the middle, forwards and backwards",
        (click(2, 1, (40.0, 70.3)), box(2, 2, 17.0, 18.5, 101.2, 90.0), track(2), track(2, reverse=True)),
        threshold=0.1,
    ),
    film_own_size_clicks=_clicked(
        "clicks on two objects, on one frame",
        _CLICKS,
        1,
        Known(
            cause="its tracker gives each pixel to the object of the highest logit",
            imitation=_filmed_otherwise(_CLICKS, non_overlap_masks=True),
            shown="ours with non_overlap_masks on",
        ),
    ),
    film_own_size_click=_clicked(
        "a click on the first frame alone, more frames than Ultralytics keeps memories",
        _CLICK,
        12,
        Known(
            cause="it stores memories in float16, which all others round to bfloat16; makes that of a prompt from "
            "its logits, not from zeros and ones; and drops pointers with the memories of frames that have passed",
            imitation=_tracked_as_ultralytics,
            shown="ours doing all three",
        ),
    ),
    film_own_size_masks=_film(
        "masks of two objects",
        (mask(0, 1, "one"), mask(0, 2, "two"), track()),
        inputs={
            "one": rectangle(_SIZE, _SIZE, 30, 20, 100, 75),
            "two": rectangle(_SIZE, _SIZE, 15, 50, 45, 110),
        },
        quick=False,
        threshold=-1.0,
        known={
            "transformers": Known(
                cause="it makes the memory of a mask from the mask as it is given, not from logits of a quarter of its "
                "size, and takes the pointer from the best of three masks",
                imitation=during(pointer_of_the_best, masks_are_remembered_as_given),
                shown="ours doing both",
            )
        },
    ),
    film_own_size_again=_film(
        "a second click on a frame",
        (
            click(0, 1, (40.0, 70.3)),
            click(0, 1, (90.0, 30.0), labels=(0,), clear_old_points=False),
            track(0, 2),
        ),
        quick=False,
        threshold=-1.0,
        known={
            "transformers": Known(
                cause="it does not give its model the mask that a second click is to refine",
                imitation=during(without_earlier_masks),
                shown="our prompt encoder given none",
            )
        },
    ),
    film_own_size_correction=_film(
        "a click on a tracked frame, read by the frames behind it",
        (*_TWO, track(), click(3, 1, (90.0, 30.0), labels=(0,)), track(behind=4)),
        quick=False,
        threshold=-1.0,
        known={
            "transformers": Known(
                cause="it does not give its model the mask that a correction is to refine, and remembers the frame's "
                "other objects as if they were prompted, as zeros and ones",
                imitation=during(without_earlier_masks, corrections_prompt_every_object),
                shown="ours doing both",
            )
        },
    ),
)

CASES = _PICTURES + _FILMS
