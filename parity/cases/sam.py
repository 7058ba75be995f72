"""Cases of SAMModel: a small one, whole, with what Meta's class does before and after the network."""

from typing import Any

import torch

from parity.cases import images
from parity.cases.drive import pictures
from parity.cases.family import family, row
from parity.cases.two_way import EPS_DIFFERS
from parity.execution.case import NoCounterpart, Side, literal, make, uniform

_SIZE = 64
SMALL_PARTS: dict[str, Any] = {
    "image_encoder": make(
        "ImageEncoderViT",
        img_size=_SIZE,
        embed_dim=24,
        depth=2,
        num_heads=2,
        out_chans=32,
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1,),
    ),
    "prompt_encoder": make(
        "PromptEncoder",
        embed_dim=32,
        image_embedding_size=(4, 4),
        input_image_size=(_SIZE, _SIZE),
        mask_in_chans=8,
    ),
    "mask_decoder": make(
        "MaskDecoder",
        transformer_dim=32,
        transformer=make("TwoWayTransformer", depth=2, embedding_dim=32, num_heads=4, mlp_dim=48),
    ),
}
# Exact in float32: the released means are not, and a float64 model has them as float32 rounds them.
_OTHER_PIXELS = {"pixel_mean": [100.0, 110.0, 120.0], "pixel_std": [50.0, 60.0, 70.0]}


def _method(side: Side, name: str) -> Any:
    """A method that one reference has and the other lacks."""
    if not hasattr(side.net, name):
        raise NoCounterpart(f"its SAMModel has no method {name}")
    return getattr(side.net, name)


def _prepared(side: Side) -> Any:
    return _method(side, "preprocess")(side.inputs["image"])


def _segmented(side: Side) -> Any:
    _method(side, "preprocess")  # the method `forward` is there too, but raises
    inputs = side.inputs
    results = side.net(
        [
            {
                "image": inputs["image"][0],
                "original_size": (90, 128),
                "point_coords": inputs["points"],
                "point_labels": inputs["labels"],
            },
            {"image": inputs["image"][1], "original_size": (45, 64), "boxes": inputs["boxes"]},
        ],
        multimask_output=True,
    )
    ious = [result.pop("iou_predictions").flatten() for result in results]
    return {"images": results, "ious": torch.cat(ious)}


def _resized(side: Side) -> Any:
    if side.library.name == "meta":
        raise NoCounterpart("cannot change the size of its images")
    net = side.net
    net.set_imgsz([96, 96])
    sparse, dense = net.prompt_encoder(points=None, boxes=side.inputs["boxes"], masks=None)
    masks, ious = net.mask_decoder(
        image_embeddings=net.image_encoder(side.inputs["image"]),
        image_pe=net.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    return {"sparse": sparse, "dense": dense, "masks": masks, "ious": ious}


CASES = family(block="SAMModel", kwargs=SMALL_PARTS, bound64=1e-10).of(
    prompts=row(
        "image encoder, prompt encoder and mask decoder together, with every kind of prompt",
        inputs=images.inputs(_SIZE),
        call=images.sam,
        known=EPS_DIFFERS,
    ),
    preprocess=row(
        "pixels are centred and scaled by the model's own means, then zeros are added below and right",
        _OTHER_PIXELS,
        {"image": uniform(2, 3, 45, 64, low=0.0, high=255.0)},
        call=_prepared,
    ),
    postprocess=row(
        "masks are enlarged to the image's size, cut to what was not padding, and resized to the photograph",
        inputs={"masks": uniform(2, 3, 16, 16, low=-8.0, high=8.0)},
        call=lambda side: _method(side, "postprocess_masks")(side.inputs["masks"], (45, 64), (90, 128)),
    ),
    forward=row(
        "two photographs with prompts of their own, from pixels to masks of their size",
        _OTHER_PIXELS,
        {
            "image": uniform(2, 3, 45, 64, low=0.0, high=255.0),
            "points": literal([[[20.0, 30.0]], [[50.0, 9.0]]]),
            "labels": literal([[1], [1]]),
            "boxes": literal([[4.0, 8.0, 50.0, 40.0], [20.0, 5.0, 60.0, 30.0]]),
        },
        call=_segmented,
    ),
    another_size=row(
        "set_imgsz lets a model take other images: tables are resized, coordinates refer to the new size",
        inputs={
            "image": pictures(1, 3, 96, 96),
            "boxes": literal([[4.0, 8.0, 50.0, 90.0], [20.0, 5.0, 90.0, 30.0]]),
        },
        call=_resized,
    ),
)
