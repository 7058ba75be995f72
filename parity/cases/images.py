"""How cases drive whole models on one image, as a predictor does: features once, then prompts of every kind."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from parity.cases.drive import encoded, pictures, rectangles
from parity.execution.case import Side, Spec, literal


def inputs(height: int, width: int | None = None) -> dict[str, Spec]:
    """An image and prompts for it: two clicks, each on its own; two boxes; a click with earlier logits."""
    wide = width or height
    return {
        "image": pictures(1, 3, height, wide),
        "clicks": literal([[[0.25 * wide, 0.3 * height]], [[0.7 * wide, 0.5 * height]]]),
        "clicks_labels": literal([[1], [1]]),
        "boxes": literal(
            [
                [0.1 * wide, 0.15 * height, 0.6 * wide, 0.7 * height],
                [0.4 * wide, 0.2 * height, 0.95 * wide, 0.8 * height],
            ]
        ),
        "pair": literal([[[0.35 * wide, 0.4 * height], [0.8 * wide, 0.1 * height]]]),
        "pair_labels": literal([[1, 0]]),
        "logits": _logits(height // 4, wide // 4),
    }


def _logits(height: int, width: int) -> Spec:
    """A mask as a decoder gives it: 6 inside a rectangle, -6 outside."""
    inside = rectangles(height, width, (height // 4, width // 5, height // 2, 2 * width // 3))
    return Spec(inside.shape, lambda name, shape: 12.0 * inside.values(name, shape) - 6.0)


def sam(side: Side) -> dict[str, Any]:
    """SAM 1 and MobileSAM: the image encoder, then each prompt through both other parts."""
    net = side.net
    features = net.image_encoder(side.inputs["image"])
    results: dict[str, Any] = {"image_encoder": features, "dense_pe": net.prompt_encoder.get_dense_pe()}
    for name, arguments in _prompts(side.inputs).items():
        points = arguments.pop("points", None)
        sparse, dense = net.prompt_encoder(
            points=points, boxes=arguments.get("boxes"), masks=arguments.get("masks")
        )
        masks, ious = net.mask_decoder(
            image_embeddings=features,
            image_pe=net.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=arguments["multimask"],
        )
        results[name] = {"sparse": sparse, "masks": masks, "ious": ious}
        if "masks" in arguments:
            results[name]["dense"] = dense
    return gathered(results)


def sam_hq(side: Side) -> dict[str, Any]:
    """HQ-SAM: the image encoder with its early features, then each prompt through both other parts, in every way."""
    net = side.net
    own = side.library.name == "samblocks"
    encode = net.image_encoder.forward_intermediates if own else net.image_encoder
    features, maps = encode(side.inputs["image"])
    results: dict[str, Any] = {"image_encoder": features, "early": maps[0]}
    for name, arguments in _prompts(side.inputs).items():
        sparse, dense = net.prompt_encoder(
            points=arguments.get("points"), boxes=arguments.get("boxes"), masks=arguments.get("masks")
        )
        for kind, alone in (("summed", False), ("alone", True)):
            masks, ious = net.mask_decoder(
                image_embeddings=features,
                image_pe=net.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=arguments["multimask"],
                hq_token_only=alone,
                interm_embeddings=maps,
            )
            results[f"{name}_{kind}"] = {"masks": masks, "ious": ious}
    return gathered(results)


def sam2(side: Side) -> dict[str, Any]:
    """SAM 2 on a single image: the empty memory is added to the features, boxes are points labelled 2 and 3."""
    net = side.net
    levels = encoded(net, side.inputs["image"], side.dtype)
    *fine, features = levels["backbone_fpn"][-3:]
    features = features + net.no_mem_embed.reshape(1, -1, 1, 1)
    results: dict[str, Any] = {
        "image_encoder": {name: levels[name] for name in ("backbone_fpn", "vision_pos_enc")},
        "dense_pe": net.sam_prompt_encoder.get_dense_pe(),
    }
    for name, arguments in _prompts(side.inputs).items():
        points = arguments.get("points")
        if "boxes" in arguments:
            corners = arguments["boxes"].reshape(-1, 2, 2)
            labels = side.inputs["clicks_labels"].new_tensor([[2, 3]]).expand(len(corners), -1)
            points = (corners, labels)
        sparse, dense = net.sam_prompt_encoder(points=points, boxes=None, masks=arguments.get("masks"))
        masks, ious, tokens, scores = net.sam_mask_decoder(
            image_embeddings=features,
            image_pe=net.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=arguments["multimask"],
            repeat_image=len(sparse) > 1,
            high_res_features=fine,
        )
        results[name] = {"sparse": sparse, "masks": masks, "ious": ious, "tokens": tokens, "scores": scores}
        if "masks" in arguments:
            results[name]["dense"] = dense
    return gathered(results)


def gathered(results: Mapping[str, Any]) -> dict[str, Any]:
    """The results with all predicted qualities, and all scores, in one tensor each: each is a number or two."""
    rest: dict[str, Any] = {}
    numbers: dict[str, list[Tensor]] = {"ious": [], "scores": []}
    for name, values in results.items():
        rest[name] = values
        if isinstance(values, dict):
            rest[name] = dict(values)
            for kind, found in numbers.items():
                if kind in values:
                    found.append(rest[name].pop(kind).flatten())
    return rest | {kind: torch.cat(found) for kind, found in numbers.items() if found}


def _prompts(given: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    clicks = (given["clicks"], given["clicks_labels"])
    pair = (given["pair"], given["pair_labels"])
    return {
        "click": {"points": clicks, "multimask": True},
        "box": {"boxes": given["boxes"], "multimask": False},
        "again": {"points": pair, "masks": given["logits"], "multimask": False},
    }
