"""Cases of PromptEncoder: points, boxes and masks, alone and together, on a map that is not square."""

from collections.abc import Mapping
from typing import Any

from parity.cases.family import family, row
from parity.cases.imitations import arguments
from parity.execution.case import Known, NoCounterpart, Side, Spec, Torch, literal, uniform

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

_CORNERS_EMBEDDED = Known(
    cause="Meta's SAM 1 gives points labelled 2 and 3 the encoding of their place alone; Ultralytics adds the "
    "embeddings of a box's corners for SAM 1 too",
    imitation=arguments(embed_corner_labels=True),
    shown="ours with embed_corner_labels on",
)


def encode(side: Side) -> Any:
    """The encoder on whichever prompts the case has."""
    inputs = side.inputs
    points = (inputs["points"], inputs["labels"]) if "points" in inputs else None
    sparse, dense = side.net(points=points, boxes=inputs.get("boxes"), masks=inputs.get("masks"))
    return {"sparse": sparse, "dense": dense}


def _resized(side: Side) -> Any:
    if side.library.name == "meta":
        raise NoCounterpart("does not resize masks: their encoding comes out in another size")
    return encode(side)


_CORNERS: Mapping[str, Spec] = {**_POINTS, "labels": literal([[2, 3, -1], [1, 2, 3]])}

CASES = family(block="PromptEncoder", kwargs=_KWARGS, call=encode).of(
    points=row(
        "clicks of both kinds, a padding point among them, and one more padding point", inputs=_CLICKS
    ),
    corner_points=row(
        "points labelled 2 and 3 get the embeddings of a box's corners, as in SAM 2", inputs=_CORNERS
    ),
    corner_points_bare=row(
        "points labelled 2 and 3 get the encoding of their place alone, as in SAM 1",
        {"embed_corner_labels": False},
        _CORNERS,
        known={"ultralytics": _CORNERS_EMBEDDED},
    ),
    clicks_as_sam_1=row(
        "for clicks it makes no difference whether corner labels are embedded",
        {"embed_corner_labels": False},
        _CLICKS,
    ),
    unknown_label=row(
        "a label that nobody knows gives the encoding of the place alone",
        inputs={**_POINTS, "labels": literal([[4, 1, 7], [-2, 0, 1]])},
    ),
    boxes=row("each box is a prompt of its own, its corners two tokens, without padding", inputs=_BOXES),
    boxes_as_corners=row(
        "a box may come as two corners",
        inputs={"boxes": literal([[[4.0, 8.0], [50.0, 90.0]], [[0.0, 0.5], [63.0, 20.0]]])},
    ),
    everything=row(
        "points come before corners, without padding, and a mask makes the map",
        inputs={**_CLICKS, **_BOXES, **_MASKS},
    ),
    points_and_mask=row("a mask beside points leaves the padding point", inputs={**_CLICKS, **_MASKS}),
    mask=row(
        "a mask alone gives no tokens; its three convolutions, wider and with another activation",
        {"mask_in_chans": 16, "activation": Torch("ReLU")},
        _MASKS,
    ),
    mask_of_another_size=row(
        "a mask of another size is resized bilinearly before it is encoded",
        inputs={"masks": uniform(1, 1, 40, 10, low=-8.0, high=8.0)},
        call=_resized,
    ),
    nothing=row("without any prompt there are no tokens, and the map is the same everywhere"),
    whole_pixels=row(
        "coordinates and labels given as integers",
        inputs={"points": literal([[[20, 30], [63, 95]]]), "labels": literal([[1, 0]])},
    ),
    dense_pe=row(
        "the encoding of every place of a map that is not square",
        call=lambda side: side.net.get_dense_pe(),
    ),
)
