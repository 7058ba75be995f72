"""Cases of HQ-SAM, small: its mask decoder on maps that are not square, and the whole model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from parity.cases import images
from parity.cases.family import family, row
from parity.cases.imitations import during, masks_before_the_transformer, norms_of_blocks
from parity.cases.mask_decoder import inputs, transformer
from parity.execution.case import Known, Side, Torch, literal, make, uniform
from parity.execution.training import gradients, loss_of

_DIM, _EARLY = 32, 24

MASKS_DIFFER = {
    "transformers": Known(
        cause="its HQ-SAM enlarges the image embedding and the dense prompt as they were before the transformer, rows "
        "and columns exchanged, and gives three sums, by predicted IoU, where HQ-SAM's package gives the best; its "
        "norms have eps 1e-6, where Meta's have 1e-5",
        imitation=during(norms_of_blocks(1e-6), masks_before_the_transformer),
        shown="our decoder doing all three",
    )
}


def _decode(side: Side) -> Any:
    """The mask for one answer and the best of several, each summed with SAM's and alone."""
    given = dict(side.inputs)
    early = [given.pop("early")]
    results = {}
    for name, multimask in (("best", True), ("one", False)):
        for kind, alone in (("summed", False), ("alone", True)):
            masks, ious = side.net(
                **given, multimask_output=multimask, hq_token_only=alone, interm_embeddings=early
            )
            results[f"{name}_{kind}"] = {"masks": masks, "ious": ious}
    return results


def _early(height: int = 6, width: int = 4, channels: int = _EARLY) -> dict[str, Any]:
    return {"early": uniform(1, height, width, channels)}


def _likeliest_first(tensors: dict[str, Tensor]) -> None:
    """The mask for one answer has the highest predicted IoU, by far."""
    name = "iou_prediction_head.layers.2.bias"
    tensors[name] = tensors[name] + 4.0 * torch.eye(len(tensors[name]), dtype=tensors[name].dtype)[0]


def _decoded(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    given = dict(inputs)
    early = [given.pop("early")]
    return side.net(**given, multimask_output=True, hq_token_only=False, interm_embeddings=early)


def _whole(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    net = side.net
    own = side.library.name == "samblocks"
    features, maps = (net.image_encoder.forward_intermediates if own else net.image_encoder)(inputs["image"])
    sparse, dense = net.prompt_encoder(points=None, boxes=inputs["boxes"], masks=None)
    return net.mask_decoder(
        image_embeddings=features,
        image_pe=net.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        hq_token_only=False,
        interm_embeddings=maps,
    )


_DECODER = family(
    block="MaskDecoderHQ",
    kwargs={"transformer_dim": _DIM, "transformer": transformer("TwoWayTransformer"), "vit_dim": _EARLY},
    call=_decode,
    bound64=1e-10,
    known=MASKS_DIFFER,
).of(
    prompts=row(
        "several prompts on one image: the token of its own, the finer map, the best of three masks corrected",
        inputs=inputs() | _early(),
    ),
    other_settings=row(
        "more masks, another activation in SAM's part alone, heads of other depth and width, other early channels",
        {
            "transformer": transformer("TwoWayTransformer", depth=1, attention_downsample_rate=1),
            "num_multimask_outputs": 5,
            "activation": Torch("ReLU"),
            "iou_head_depth": 2,
            "iou_head_hidden_dim": 24,
            "vit_dim": 40,
        },
        inputs() | _early(channels=40),
        known={},
    ),
    one_answer_is_likeliest=row(
        "the mask for one answer is no candidate among several, however likely",
        inputs=inputs(prompts=1, tokens=0) | _early(),
        adjust=_likeliest_first,
    ),
    one_prompt=row("one prompt, without tokens of its own", inputs=inputs(prompts=1, tokens=0) | _early()),
    gradients=row(
        "the backward pass from masks of both kinds and scores into image, early features and prompts",
        inputs=inputs() | _early(),
        call=gradients(_decoded, loss=loss_of, vanishing=("k_proj.bias",)),
    ),
)


def _segmented(side: Side) -> Any:
    """Two photographs with prompts of their own, summed and alone."""
    inputs = side.inputs
    records = [
        {
            "image": inputs["image"][0],
            "original_size": (45, 64),
            "point_coords": inputs["points"],
            "point_labels": inputs["labels"],
        },
        {"image": inputs["image"][1], "original_size": (30, 43), "boxes": inputs["boxes"]},
    ]
    found: dict[str, Any] = {}
    ious = []
    for name, alone in (("summed", False), ("alone", True)):
        answers = side.net(records, multimask_output=True, hq_token_only=alone)
        ious += [answer["iou_predictions"].flatten() for answer in answers]
        found[name] = [{key: answer[key] for key in ("masks", "low_res_logits")} for answer in answers]
    return found | {"ious": torch.cat(ious)}


_WHOLE = family(
    block="SAMModelHQ",
    kwargs={
        "image_encoder": make(
            "ImageEncoderViT",
            img_size=64,
            embed_dim=_EARLY,
            depth=3,
            num_heads=2,
            out_chans=_DIM,
            use_rel_pos=True,
            window_size=3,
            global_attn_indexes=(1, 2),
        ),
        "prompt_encoder": make(
            "PromptEncoder",
            embed_dim=_DIM,
            image_embedding_size=(4, 4),
            input_image_size=(64, 64),
            mask_in_chans=8,
            embed_corner_labels=False,
        ),
        "mask_decoder": make(
            "MaskDecoderHQ",
            transformer_dim=_DIM,
            transformer=transformer("TwoWayTransformer"),
            vit_dim=_EARLY,
        ),
    },
    bound64=1e-10,
).of(
    prompts=row(
        "encoders and HQ-SAM's decoder together, with the map after the first of two global blocks",
        inputs=images.inputs(64),
        call=images.sam_hq,
    ),
    forward=row(
        "two photographs from pixels to masks: each has its own early features, and one mask for each prompt",
        {"pixel_mean": [100.0, 110.0, 120.0], "pixel_std": [50.0, 60.0, 70.0]},
        {
            "image": uniform(2, 3, 45, 64, low=0.0, high=255.0),
            "points": literal([[[20.0, 30.0]], [[50.0, 9.0]]]),
            "labels": literal([[1], [1]]),
            "boxes": literal([[4.0, 8.0, 50.0, 40.0], [20.0, 5.0, 60.0, 30.0]]),
        },
        call=_segmented,
    ),
    gradients=row(
        "the backward pass through a whole small HQ-SAM, from masks to pixels",
        inputs={
            "image": uniform(1, 3, 64, 64),
            "boxes": literal([[[4.0, 8.0, 50.0, 40.0]], [[20.0, 5.0, 60.0, 30.0]]]),
        },
        call=gradients(_whole, loss=loss_of, vanishing=("k_proj.bias",), fixed=("boxes",)),
    ),
)

CASES = _DECODER + _WHOLE
