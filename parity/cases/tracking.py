"""Cases of the tracking path: SAM 2.0 and 2.1, tiny, two objects over eleven frames.

Those that are not quick are at 256 pixels, the rest at 128, where a step takes a fifth of the time.

The score head is shifted so that objects are seen in some frames and not in others, and the single mask's
logits are stretched so that some of them are stable and some are not; each case asserts that this is so.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from parity.cases import blind
from parity.cases.drive import Step, pictures, rectangles, tracked
from parity.cases.imitations import arguments, during, pointer_of_the_best
from parity.execution.case import Case, Known, Side, Spec, literal

_LARGE, _SMALL = 256, 128
_FRAMES = 11

_SPREAD = 8.0  # widens the scores, which in a filled model are close to each other

_LABELS: Mapping[str, Spec] = {
    "click_labels": literal([[1], [1]]),
    "box_labels": literal([[2, 3], [2, 3]]),
    "clicks_labels": literal([[1, 0], [0, 1]]),
}
_PLACES = {
    "click": [[[30.0, 40.0]], [[90.0, 60.0]]],
    "box": [[[15.0, 20.0], [75.0, 85.0]], [[50.0, 30.0], [120.0, 100.0]]],
    "clicks": [[[45.0, 50.0], [100.0, 15.0]], [[10.0, 110.0], [65.0, 65.0]]],
}
"""Points at 128 pixels."""

_MASKS = ((30, 20, 100, 75), (15, 50, 45, 110))

FORWARD = (
    Step(0, "click"),
    Step(1),
    Step(2),
    Step(2, "clicks", correct=True),
    Step(3),
    Step(4, "box"),
    Step(5),
    Step(6, "mask"),
    Step(7),
    Step(8),
    Step(9),
    Step(10),
)
"""Every kind of prompt, a correction, and enough frames for seven memories."""

REVERSE = (
    Step(10, "box"),
    Step(4, "mask"),
    *(Step(frame, reverse=True) for frame in (9, 8, 7, 6, 5, 3, 2, 1, 0)),
    Step(1, "clicks", correct=True, reverse=True),
)
"""From the last frame to the first, past a frame that was prompted before."""


def adjusted(threshold: float, single_mask: float = 1.0) -> Callable[[dict[str, Tensor]], None]:
    """Let an object be seen where its score was above `threshold`, and stretch the logits of single masks."""

    def adjust(tensors: dict[str, Tensor]) -> None:
        for kind in ("weight", "bias"):
            name = f"sam_mask_decoder.output_hypernetworks_mlps.0.layers.2.{kind}"
            tensors[name] = tensors[name] * single_mask
            head = "sam_mask_decoder.pred_obj_score_head."
            name = next(head + last + kind for last in ("layers.2.", "") if head + last + kind in tensors)
            tensors[name] = _SPREAD * (tensors[name] - (threshold if kind == "bias" else 0.0))

    return adjust


_OTHER_POINTER = {
    "transformers": Known(
        cause="where a mask prompts it asks its decoder for three masks and takes the pointer from the best one's "
        "token, where Meta asks for one: it shows if the object is seen",
        imitation=during(pointer_of_the_best),
        shown="ours taking the same pointer",
    )
}

SEEING = blind.both(
    blind.scores_have_both_signs,
    blind.masks_are_mixed,
    blind.stability_has_both_outcomes,
    blind.steps_differ,
)


def following(script: Sequence[Step]) -> Callable[[Side], object]:
    """The call of a case that tracks two objects by a script."""
    return lambda side: tracked(side, script)


def _prompts(size: int) -> dict[str, Spec]:
    by = size // _SMALL
    points = {
        name: literal([[[by * x, by * y] for x, y in one] for one in objects])
        for name, objects in _PLACES.items()
    }
    boxes = [(by * left, by * top, by * right, by * bottom) for left, top, right, bottom in _MASKS]
    return points | dict(_LABELS) | {"mask": rectangles(size, size, *boxes)}


def _case(
    version: str, name: str, script: Sequence[Step], why: str, *, size: int = _SMALL, **changes: object
) -> Case:
    prompts = {step.prompt for step in script if step.prompt}
    inputs = {"frames": pictures(_FRAMES, 3, size, size)} | {
        key: spec for key, spec in _prompts(size).items() if key.removesuffix("_labels") in prompts
    }
    settings: dict[str, object] = {
        "kwargs": {},
        "check": SEEING,
        "known": _OTHER_POINTER if "mask" in prompts else {},
        **changes,
    }
    return Case(
        block="SAM2Model",
        name=name,
        why=why,
        variant=f"{version}_hiera_tiny",
        image_size=size,
        inputs=inputs,
        call=following(script),
        bound64=1e-10,
        **settings,  # type: ignore[arg-type]
    )


CASES = (
    _case(
        "sam2.1",
        "tracking_2.1_forward",
        FORWARD,
        "clicks, a box, a mask and a correction; seven memories; pointers with signed, projected distances",
        size=_LARGE,
        quick=False,
        adjust=adjusted(threshold=0.73),
    ),
    _case(
        "sam2",
        "tracking_2.0_forward",
        FORWARD,
        "the same for 2.0: absent objects leave no mark in memory maps, and pointers have no code of time",
        kwargs={"add_tpos_enc_to_obj_ptrs": False},
        adjust=adjusted(threshold=0.99, single_mask=1.2),
    ),
    _case(
        "sam2",
        "tracking_2.0_as_ultralytics",
        FORWARD,
        "2.0 as Ultralytics builds it: pointers get a code of their distance, unsigned and not projected",
        kwargs={"add_tpos_enc_to_obj_ptrs": True},
        size=_LARGE,
        quick=False,
        adjust=adjusted(threshold=0.73, single_mask=1.2),
    ),
    _case(
        "sam2",
        "tracking_2.0_defaults",
        (Step(0, "click"), Step(1), Step(2)),
        "2.0 as each library builds it: ours like Meta's, without a code of time for pointers",
        known={
            "ultralytics": Known(
                cause="Ultralytics' builder leaves add_tpos_enc_to_obj_ptrs on for 2.0, Meta's four configurations "
                "turn it off: from the second frame on, keys of pointers differ by a sine code",
                imitation=arguments(add_tpos_enc_to_obj_ptrs=True),
                shown="ours with it on",
            )
        },
        check=blind.both(blind.masks_are_mixed, blind.steps_differ),
        adjust=adjusted(threshold=-1.0),
    ),
    _case(
        "sam2",
        "tracking_2.0_reverse",
        REVERSE,
        "the same backwards for 2.0",
        kwargs={"add_tpos_enc_to_obj_ptrs": False},
        size=_LARGE,
        quick=False,
        adjust=adjusted(threshold=0.75),
    ),
    _case(
        "sam2.1",
        "tracking_2.1_reverse",
        REVERSE,
        "backwards: memories and pointers come from later frames, and prompted frames on the way count",
        adjust=adjusted(threshold=0.991),
    ),
)
