"""Short films of the predictor of videos, each for one thing that a state has to remember.

Models are for 64 pixels, clips smaller still, and objects are always seen: no answer hides behind a score.
"""

from collections.abc import Sequence
from typing import Any

from parity.cases.family import Row, row
from parity.cases.filming import SAVE, Say, box, click, filmed, objects_are_seen, remove, track
from parity.cases.sam2_settings import RELEASED, small_parts
from parity.cases.video import FILMS, clip, seeing

_HEIGHT, _WIDTH = 11, 13
_REACH = {"max_obj_ptrs_in_encoder": 5, "num_maskmem": 3}
_ONE = click(0, 1, (4.0, 5.3))


def _film(why: str, script: Sequence[Say], frames: int, **settings: Any) -> Row:
    options = {key: settings.pop(key) for key in _REACH if key in settings}
    return row(
        why,
        {**small_parts(), **RELEASED, **options, "image_size": 64},
        {"frames": clip(frames, _HEIGHT, _WIDTH)},
        call=filmed(script, **settings),
        adjust=seeing(-1.0, 4.0),
        check=objects_are_seen(script, mixed=0.7),
    )


CASES = FILMS.of(
    film_short_back=_film(
        "backwards alone: a click on a frame that was tracked so reads what it was tracked from",
        (click(4, 1, (4.0, 5.3)), track(4, reverse=True), click(2, 1, (9.0, 4.0), labels=(0,))),
        5,
    ),
    film_short_stream=_film(
        "a click on the last frame of a stream reads as many pointers as its window has",
        (_ONE, track(), click(9, 1, (9.0, 4.0), labels=(0,))),
        10,
        stream=True,
        **_REACH,
    ),
    film_short_objects=_film(
        "two objects in one pass, and the first alone once the second was removed",
        (_ONE, box(0, 2, 1.0, 1.5, 8.2, 9.0), track(), remove(2), track()),
        4,
    ),
    film_short_saved=_film(
        "a click on a prompted frame of a state that was saved: no result from before it passes for one from behind it",
        (_ONE, track(), SAVE, click(0, 1, (9.0, 4.0), labels=(0,), clear_old_points=False), track()),
        4,
        upstream={"add_all_frames_to_correct_as_cond": True},
    ),
)
