"""Cases of the predictor of videos: what users say and ask, through whole states, at 128 pixels.

Clips are of odd sizes; the score head is shifted so that objects come and go. Objects are tracked at once unless a case
says otherwise. Holes are filled on both sides, on the reference's by OpenCV's components.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from parity.cases.calls import Check
from parity.cases.drive import pictures
from parity.cases.family import Row, family, row
from parity.cases.filming import (
    SAVE,
    Say,
    box,
    clear,
    click,
    filmed,
    mask,
    objects_are_seen,
    objects_come_and_go,
    remove,
    track,
)
from parity.cases.imitated_pictures import clips_by_torch
from parity.cases.imitations import arguments, during
from parity.cases.sam2_settings import RELEASED, small_parts
from parity.cases.tracking import adjusted
from parity.execution.case import Known, Spec, literal, uniform

_HEIGHT, _WIDTH = 17, 23
_FIRST: dict[str, Any] = {
    **RELEASED,
    "add_tpos_enc_to_obj_ptrs": False,
    "proj_tpos_enc_in_obj_ptrs": False,
    "use_signed_tpos_enc_to_obj_ptrs": False,
    "no_obj_embed_spatial": False,
}
"""The settings of SAM 2.0."""


def clip(frames: int, height: int = _HEIGHT, width: int = _WIDTH) -> Spec:
    """A clip [T, H, W, 3], uint8, in which a picture drifts by a pixel a frame."""
    made = pictures(3, height + frames, width + frames)

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        whole = np.clip(np.rint(128 + 57 * made.values(name, made.shape)), 0, 255).astype(np.uint8)
        cut = [whole[:, at : at + height, at : at + width].transpose(1, 2, 0) for at in range(frames)]
        return np.stack(cut)

    return Spec((frames, height, width, 3), values)


def rectangle(height: int, width: int, left: int, top: int, right: int, bottom: int) -> Spec:
    """A mask [H, W] of a rectangle."""
    drawn = np.zeros((height, width), np.int64)
    drawn[top:bottom, left:right] = 1
    return literal(drawn)


def _blots(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of blots of three pixels."""
    coarse = uniform(*(-(-side // 3) for side in shape), low=0.0, high=1.0)
    whole = coarse.values(name, coarse.shape).repeat(3, axis=0).repeat(3, axis=1)
    return (whole[: shape[0], : shape[1]] > 0.4).astype(np.int64)


_TWO = (click(0, 1, (7.0, 9.3)), box(0, 2, 3.0, 2.5, 18.2, 12.0))


def seeing(threshold: float, no_memory: float) -> Callable[[dict[str, Tensor]], None]:
    """Let prompts show objects, and objects be seen where their score was above `threshold`.

    The embedding of a frame without memory grows by the factor `no_memory`, until scores of prompted frames are above
    most of tracked ones: otherwise a threshold by which tracked objects are lost would let prompts find nothing.
    """
    shift = adjusted(threshold, 2.0)

    def adjust(tensors: dict[str, Tensor]) -> None:
        shift(tensors)
        tensors["no_mem_embed"] = no_memory * tensors["no_mem_embed"]

    return adjust


def _film(
    why: str,
    script: Sequence[Say],
    *,
    frames: int = 8,
    threshold: float,
    no_memory: float = 4.0,
    first: bool = False,
    inputs: Any = None,
    check: Callable[[Sequence[Say]], Check] = objects_come_and_go,
    **settings: Any,
) -> Row:
    fields = {key: settings.pop(key) for key in ("known", "quick") if key in settings}
    options = {key: settings.pop(key) for key in ("non_overlap_masks_for_mem_enc",) if key in settings}
    return row(
        why,
        {**small_parts(), **(_FIRST if first else RELEASED), **options},
        {"frames": clip(frames), **(inputs or {})},
        call=filmed(script, **settings),
        adjust=seeing(threshold, no_memory),
        check=check(script),
        **fields,
    )


FILMS = family(
    block="SAM2Model",
    bound=3.0,
    reason="memories are stored in bfloat16, and which way its roundings fall is luck",
    bound64=1e-10,
)

CASES = FILMS.of(
    film_forward=_film(
        "two objects from the first frame, more frames than memories and pointers",
        (*_TWO, track()),
        frames=20,
        threshold=0.16,
    ),
    film_first=_film(
        "the same for 2.0",
        (*_TWO, track()),
        frames=20,
        first=True,
        quick=False,
        threshold=0.172,
    ),
    film_stream=_film(
        "frames of unknown number, of which there are fewer than pointers: distances are measured in their number",
        (click(0, 1, (7.0, 9.3)), track()),
        stream=True,
        threshold=0.156,
    ),
    film_long_stream=_film(
        "frames of unknown number, in a window of memories and pointers; a click on the last frame reads all of it",
        (box(0, 1, 8.0, 6.0, 22.0, 16.0), track(), click(18, 1, (15.0, 4.0))),
        frames=19,
        stream=True,
        quick=False,
        no_memory=6.0,
        threshold=0.28,
    ),
    film_one_frame=_film(
        "a clip of one frame",
        (*_TWO, track()),
        frames=1,
        check=objects_are_seen,
        threshold=0.0,
    ),
    film_apart=_film(
        "objects that were first shown on different frames, one after the other",
        (click(0, 1, (7.0, 9.3)), box(3, 2, 3.0, 2.5, 18.2, 12.0), track()),
        batch_objects=False,
        quick=False,
        threshold=0.225,
    ),
    film_five=_film(
        "five objects at once, of which four read the same frames",
        (
            *_TWO,
            click(0, 3, (20.0, 3.0)),
            click(0, 4, (11.0, 15.0)),
            click(2, 5, (3.0, 3.0), (15.0, 12.0), labels=(1, 0)),
            track(),
        ),
        quick=False,
        threshold=0.14,
    ),
    film_thirty=_film(
        "five objects over more than thirty frames, one of them shown late, and a correction in between",
        (
            *_TWO,
            click(0, 3, (20.0, 3.0)),
            click(0, 4, (11.0, 15.0)),
            track(0, 9),
            click(9, 5, (3.0, 3.0), (15.0, 12.0), labels=(1, 0)),
            click(6, 2, (9.0, 5.0), labels=(0,)),
            track(7),
        ),
        frames=33,
        quick=False,
        threshold=0.107,
    ),
    film_both_ways=_film(
        "from the middle forwards, then backwards: the second way reads the first one's results, and so does a third",
        (
            *(click(4, 1, (7.0, 9.3)), box(4, 2, 3.0, 2.5, 18.2, 12.0)),
            track(),
            track(reverse=True),
            click(2, 1, (15.0, 4.0)),
            track(1),
        ),
        frames=10,
        corrections="upstream",
        threshold=0.16,
    ),
    film_range=_film(
        "from some frame on, some frames, and backwards from the end",
        (*_TWO, track(0, 3), track(4), track(7, 2, reverse=True), track(0, 0), track(0, reverse=True)),
        check=objects_are_seen,
        quick=False,
        threshold=0.135,
    ),
    film_clicks=_film(
        "clicks that are added, and a click again: what the frame has is refined",
        (
            *(click(0, 1, (2.0, 8.0)), box(0, 2, 3.0, 2.5, 18.2, 12.0)),
            click(0, 1, (15.0, 2.0), labels=(0,), clear_old_points=False),
            click(0, 1, (21.0, 14.0)),
            click(0, 2, (0.5, 0.4), normalize_coords=False),
            track(0, 3),
        ),
        check=objects_are_seen,
        threshold=0.235,
    ),
    film_box_and_clicks=_film(
        "a box's corners come before the clicks",
        (
            click(0, 1, (12.0, 3.0), (5.0, 9.0), labels=(0, 1), box=np.array([3.0, 2.5, 18.2, 12.0])),
            track(0, 3),
        ),
        check=objects_are_seen,
        quick=False,
        threshold=0.1,
    ),
    film_masks=_film(
        "masks of the clip's size, of the model's and larger, an empty one, and a click on a mask",
        (
            mask(0, 1, "own_size"),
            mask(0, 2, "models_size"),
            mask(2, 3, "empty"),
            mask(1, 4, "large"),
            click(0, 2, (12.0, 10.0), labels=(0,)),
            track(),
        ),
        inputs={
            "own_size": rectangle(_HEIGHT, _WIDTH, 4, 3, 17, 11),
            "models_size": rectangle(128, 128, 30, 20, 100, 75),
            "large": Spec((200, 260), _blots),
            "empty": rectangle(_HEIGHT, _WIDTH, 0, 0, 0, 0),
        },
        threshold=0.061,
    ),
    film_lost_corrections=_film(
        "upstream tracks over a click on a tracked frame, and drops one on a prompted frame",
        (*_TWO, track(), click(4, 1, (15.0, 4.0)), click(0, 2, (15.0, 4.0)), track(), track(5)),
        corrections="upstream",
        quick=False,
        frames=10,
        threshold=0.128,
    ),
    film_seen_corrections=_film(
        "upstream reads a click on a tracked frame where tracking starts behind it",
        (*_TWO, track(), click(4, 1, (15.0, 4.0), labels=(0,)), track(5)),
        corrections="upstream",
        quick=False,
        no_memory=8.0,
        threshold=0.314,
        frames=10,
    ),
    film_corrections=_film(
        "a click on a tracked frame sticks: what follows reads it, as upstream's does that starts behind it",
        (*_TWO, track(), click(4, 1, (15.0, 4.0), labels=(0,)), track(behind=5)),
        threshold=0.184,
    ),
    film_corrections_of_prompted=_film(
        "a click on a prompted frame takes its answer's place, as upstream's does that makes all corrected frames so",
        (
            *(click(4, 1, (7.0, 9.3)), box(4, 2, 3.0, 2.5, 18.2, 12.0)),
            track(0),
            click(4, 2, (15.0, 4.0)),
            track(0),
        ),
        upstream={"add_all_frames_to_correct_as_cond": True},
        quick=False,
        no_memory=8.0,
        threshold=0.0,
    ),
    film_corrections_as_cond=_film(
        "corrected frames are read by all frames, earlier ones too",
        (*_TWO, track(), click(4, 1, (15.0, 4.0), labels=(0,)), click(0, 2, (15.0, 4.0)), track()),
        add_all_frames_to_correct_as_cond=True,
        quick=False,
        threshold=0.09,
    ),
    film_objects=_film(
        "objects are cleared, removed, shown again and added late",
        (
            *_TWO,
            click(2, 1, (15.0, 12.0)),
            track(0, 4),
            clear(0, 1),
            click(0, 1, (9.0, 5.0)),
            click(3, 3, (20.0, 3.0)),
            track(0, 5),
            remove(1),
            click(2, 1, (7.0, 9.3)),
            track(1),
        ),
        threshold=0.127,
    ),
    film_no_overlap=_film(
        "each pixel is given to one object, in what is returned alone",
        (*_TWO, click(0, 3, (20.0, 3.0)), track()),
        non_overlap_masks=True,
        check=partial(objects_come_and_go, mixed=0.3),
        quick=False,
        threshold=0.102,
    ),
    film_holes=_film(
        "without filling of holes, which are filled everywhere else",
        (*_TWO, track()),
        fill_hole_area=0,
        quick=False,
        no_memory=8.0,
        threshold=0.194,
        known={
            "transformers": Known(
                cause="its video processor resizes clips in torch, where Meta's uses Pillow's bicubic rule",
                imitation=during(clips_by_torch),
                shown="ours resizing by torch's bilinear rule",
            )
        },
    ),
    film_cleared=_film(
        "what was tracked near a prompted frame is dropped",
        (*_TWO, track(), click(7, 3, (7.0, 9.3)), track(reverse=True, start=7), track(5)),
        clear_non_cond_mem_around_input=True,
        quick=False,
        threshold=0.131,
    ),
    film_remembered_apart=_film(
        "each pixel is remembered for one object",
        (*_TWO, track()),
        non_overlap_masks_for_mem_enc=True,
        known={
            "meta": Known(
                cause="it gives its memory encoder one object at a time, so that there is nothing to take apart",
                imitation=arguments(non_overlap_masks_for_mem_enc=False),
                shown="ours with non_overlap_masks_for_mem_enc off",
            )
        },
        check=objects_are_seen,
        quick=False,
        threshold=0.234,
    ),
    film_window=_film(
        "a window of results: what a correction far back needs is tracked again",
        (*_TWO, track(), click(9, 1, (15.0, 4.0), labels=(0,)), track(behind=10), track(6, 3)),
        frames=24,
        history="window",
        quick=False,
        threshold=0.129,
    ),
    film_saved=_film(
        "a state that was saved and resumed between prompt and prompt, and in the middle of tracking",
        (*_TWO, SAVE, track(0, 3), SAVE, click(1, 1, (15.0, 4.0)), SAVE, track(2), SAVE, track(behind=2)),
        quick=False,
        no_memory=8.0,
        threshold=0.336,
    ),
)
