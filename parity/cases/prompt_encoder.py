"""Cases of PromptEncoder: points, boxes and masks, alone and together, on a map that is not square."""

from collections.abc import Mapping
from typing import Any

from parity.execution.case import Case, NoCounterpart, Side, Spec, Torch, literal, uniform

_KWARGS = {
    "embed_dim": 16,
    "image_embedding_size": (6, 4),
    "input_image_size": (96, 64),
    "mask_in_chans": 8,
}
_POINTS: Mapping[str, Spec] = {
    "points": literal([[[20.0, 30.5], [0.0, 0.0], [63.0, 95.0]], [[1.5, 80.0], [40.0, 2.0], [33.0, 44.0]]])
}
_BOXES: Mapping[str, Spec] = {"boxes": literal([[4.0, 8.0, 50.0, 90.0], [0.0, 0.5, 63.0, 20.0]])}
_MASKS: Mapping[str, Spec] = {"masks": uniform(2, 1, 24, 16, low=-8.0, high=8.0)}
_CLICKS: Mapping[str, Spec] = {**_POINTS, "labels": literal([[1, 0, -1], [0, 1, 1]])}

CORNERS_DIFFER = (
    "Meta's SAM 1 gives points labelled 2 and 3 the encoding of their place alone; Ultralytics adds the "
    "embeddings of a box's corners for SAM 1 too"
)


def _encode(side: Side) -> Any:
    """The encoder on whichever prompts the case has."""
    inputs = side.inputs
    points = (inputs["points"], inputs["labels"]) if "points" in inputs else None
    sparse, dense = side.net(points=points, boxes=inputs.get("boxes"), masks=inputs.get("masks"))
    return {"sparse": sparse, "dense": dense}


def _resized(side: Side) -> Any:
    if side.library.name == "meta":
        raise NoCounterpart("does not resize masks: their encoding comes out in another size")
    return _encode(side)


def _case(name: str, why: str, inputs: Mapping[str, Spec], **changes: Any) -> Case:
    settings: dict[str, Any] = {"kwargs": _KWARGS, "call": _encode, **changes}
    return Case(block="PromptEncoder", name=name, why=why, inputs=inputs, **settings)


CASES = (
    _case("points", "clicks of both kinds, a padding point among them, and one more padding point", _CLICKS),
    _case(
        "corner_points",
        "points labelled 2 and 3 get the embeddings of a box's corners, as in SAM 2",
        {**_POINTS, "labels": literal([[2, 3, -1], [1, 2, 3]])},
    ),
    _case(
        "corner_points_bare",
        "points labelled 2 and 3 get the encoding of their place alone, as in SAM 1",
        {**_POINTS, "labels": literal([[2, 3, -1], [1, 2, 3]])},
        kwargs={**_KWARGS, "embed_corner_labels": False},
        known={"ultralytics": CORNERS_DIFFER},
    ),
    _case(
        "clicks_as_sam_1",
        "for clicks it makes no difference whether corner labels are embedded",
        _CLICKS,
        kwargs={**_KWARGS, "embed_corner_labels": False},
    ),
    _case(
        "unknown_label",
        "a label that nobody knows gives the encoding of the place alone",
        {**_POINTS, "labels": literal([[4, 1, 7], [-2, 0, 1]])},
    ),
    _case("boxes", "each box is a prompt of its own, its corners two tokens, without padding", _BOXES),
    _case(
        "boxes_as_corners",
        "a box may come as two corners",
        {"boxes": literal([[[4.0, 8.0], [50.0, 90.0]], [[0.0, 0.5], [63.0, 20.0]]])},
    ),
    _case(
        "everything",
        "points come before corners, without padding, and a mask makes the map",
        {**_CLICKS, **_BOXES, **_MASKS},
    ),
    _case("points_and_mask", "a mask beside points leaves the padding point", {**_CLICKS, **_MASKS}),
    _case(
        "mask",
        "a mask alone gives no tokens; its three convolutions, wider and with another activation",
        _MASKS,
        kwargs={**_KWARGS, "mask_in_chans": 16, "activation": Torch("ReLU")},
    ),
    _case(
        "mask_of_another_size",
        "a mask of another size is resized bilinearly before it is encoded",
        {"masks": uniform(1, 1, 40, 10, low=-8.0, high=8.0)},
        call=_resized,
    ),
    _case("nothing", "without any prompt there are no tokens, and the map is the same everywhere", {}),
    _case(
        "whole_pixels",
        "coordinates and labels given as integers",
        {"points": literal([[[20, 30], [63, 95]]]), "labels": literal([[1, 0]])},
    ),
    _case(
        "dense_pe",
        "the encoding of every place of a map that is not square",
        {},
        call=lambda side: side.net.get_dense_pe(),
    ),
)
