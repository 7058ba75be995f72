"""Cases of the mask decoders of SAM 1 and SAM 2, small, on maps that are not square."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from parity.cases.family import family, row
from parity.cases.two_way import EPS_DIFFERS
from parity.execution.case import Make, NoCounterpart, Side, Spec, Torch, literal, make, uniform

_HEIGHT, _WIDTH, _DIM, _PROMPTS = 6, 4, 32, 3


def transformer(block: str, **more: Any) -> Make:
    """A small two-way transformer, of either generation."""
    arguments = {"depth": 2, "embedding_dim": _DIM, "num_heads": 4, "mlp_dim": 48, **more}
    return make(block, **arguments)


def inputs(prompts: int = _PROMPTS, images: int = 1, tokens: int = 2) -> dict[str, Spec]:
    """An image's features, and prompts that are encoded already."""
    return {
        "image_embeddings": uniform(images, _DIM, _HEIGHT, _WIDTH),
        "image_pe": uniform(1, _DIM, _HEIGHT, _WIDTH, low=-1.0, high=1.0),
        "sparse_prompt_embeddings": uniform(prompts, tokens, _DIM),
        "dense_prompt_embeddings": uniform(prompts, _DIM, _HEIGHT, _WIDTH, low=-1.0, high=1.0),
    }


def levels(images: int = 1) -> dict[str, Spec]:
    """The features of high resolution."""
    return {
        "stride4": uniform(images, _DIM // 8, 4 * _HEIGHT, 4 * _WIDTH),
        "stride8": uniform(images, _DIM // 4, 2 * _HEIGHT, 2 * _WIDTH),
    }


def _mixed(outputs: Mapping[str, Tensor]) -> None:
    for path, masks in outputs.items():
        if path.endswith("masks"):
            share = float((masks > 0).double().mean())
            if not 0.05 < share < 0.95:
                raise AssertionError(f"{path}: {share:.0%} foreground")


# --- SAM 1 -------------------------------------------------------------------------------------------------


def _decode(side: Side) -> Any:
    """Three masks, and one."""
    results = {}
    for name, multimask in (("three", True), ("one", False)):
        masks, ious = side.net(**side.inputs, multimask_output=multimask)
        results[name] = {"masks": masks, "ious": ious}
    return results


_SAM = family(
    block="MaskDecoder",
    kwargs={"transformer_dim": _DIM, "transformer": transformer("TwoWayTransformer")},
    call=_decode,
    check=_mixed,
    bound64=1e-10,
    known=EPS_DIFFERS,
).of(
    prompts=row(
        "several prompts on one image; the first mask is for one prompt's sake, the others for ambiguity",
        inputs=inputs(),
    ),
    other_settings=row(
        "more masks, another activation, and heads of other depth and width",
        {
            "transformer": transformer("TwoWayTransformer", depth=1, attention_downsample_rate=1),
            "num_multimask_outputs": 5,
            "activation": Torch("ReLU"),
            "iou_head_depth": 2,
            "iou_head_hidden_dim": 24,
        },
        inputs(prompts=4, tokens=5),
    ),
    no_tokens=row(
        "a mask prompt alone gives no tokens: only the decoder's own take part",
        inputs=inputs(prompts=8, tokens=0),
    ),
)

# --- SAM 2 -------------------------------------------------------------------------------------------------

RELEASED_HEADS = {
    "use_high_res_features": True,
    "iou_prediction_use_sigmoid": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "use_multimask_token_for_obj_ptr": True,
}
_RELEASED = {**RELEASED_HEADS, "dynamic_multimask_via_stability": True}


def _decode2(side: Side) -> Any:
    """Three masks, and one; the levels of high resolution where the case has them."""
    given = dict(side.inputs)
    high = [given.pop(name) for name in ("stride4", "stride8") if name in given]
    repeat = given["image_embeddings"].shape[0] == 1
    results = {}
    for name, multimask in (("three", True), ("one", False)):
        masks, ious, tokens, scores = side.net(
            **given, multimask_output=multimask, repeat_image=repeat, high_res_features=high or None
        )
        results[name] = {"masks": masks, "ious": ious, "tokens": tokens, "scores": scores}
    return results


def _without_levels(side: Side) -> Any:
    if side.library.name == "meta":
        raise NoCounterpart("cannot do without the levels of high resolution that it was made for")
    return _decode2(side)


def _stretch(amount: float) -> Callable[[dict[str, Tensor]], None]:
    """Multiply the single mask's logits, so that some of them are stable and some are not.

    Its predicted IoU is made the highest of all: it must not count where its replacement is chosen.
    """

    def adjust(tensors: dict[str, Tensor]) -> None:
        for kind in ("weight", "bias"):
            name = f"output_hypernetworks_mlps.0.layers.2.{kind}"
            tensors[name] = tensors[name] * amount
        name = "iou_prediction_head.layers.2.bias"
        tensors[name] = tensors[name] + 4.0 * torch.eye(len(tensors[name]), dtype=tensors[name].dtype)[0]

    return adjust


def _both_outcomes(outputs: Mapping[str, Tensor]) -> None:
    """Some single masks were replaced by one of the three, and some were kept."""
    _mixed(outputs)
    replaced = [
        any(torch.equal(mask[0], option) for option in options)
        for mask, options in zip(outputs["one/masks"], outputs["three/masks"], strict=True)
    ]
    if all(replaced) or not any(replaced):
        raise AssertionError(f"the single mask was replaced for {sum(replaced)} of {len(replaced)} prompts")


_STABLE_OR_NOT: dict[str, Spec] = {**inputs(prompts=8), **levels()}

_SINGLE = [
    [[[1.0, 1.0], [1.0, 0.0]]],  # three of four pixels: just enough
    [[[1.0, 1.0], [0.0, 0.0]]],
    [[[1.0, 0.5], [0.5, -1.0]]],  # on the upper limit a pixel is not inside
    [[[1.0, 1.0], [-0.5, -0.5]]],  # on the lower one it is outside
    [[[-1.0, -1.0], [-0.5, -0.5]]],
]
_IOUS = [[0.9, 0.5, 0.7, 0.7]] * len(_SINGLE)


def _choose(side: Side) -> Any:
    masks = torch.cat([side.inputs["single"], side.inputs["others"]], dim=1)
    chosen, ious = side.net._dynamic_multimask_via_stability(masks, side.inputs["ious"])
    return {"chosen": chosen, "ious": ious}


def _chosen_as_expected(outputs: Mapping[str, Tensor]) -> None:
    """The single mask is kept in some and replaced in others."""
    confident = (outputs["ious"] > 0.8).flatten().tolist()
    assert confident == [True, False, False, True, True], f"above 0.8 are {confident}"


_SAM2 = family(
    block="SAM2MaskDecoder",
    kwargs={"transformer_dim": _DIM, "transformer": transformer("SAM2TwoWayTransformer")},
    call=_decode2,
    check=_mixed,
    bound64=1e-10,
).of(
    defaults=row("without levels of high resolution or object scores the score is 10", inputs=inputs()),
    released=row(
        "as released: levels of high resolution, object scores, tokens of all masks, choice by stability",
        _RELEASED,
        _STABLE_OR_NOT,
        adjust=_stretch(24.0),
        check=_both_outcomes,
    ),
    image_for_each_prompt=row(
        "as many images as prompts: nothing is repeated, and levels are each prompt's own",
        _RELEASED,
        {**inputs(images=_PROMPTS), **levels(images=_PROMPTS)},
    ),
    other_stability=row(
        "other limits of stability: a wider band around zero, and a lower share of pixels in it",
        {
            **_RELEASED,
            "dynamic_multimask_stability_delta": 0.4,
            "dynamic_multimask_stability_thresh": 0.75,
        },
        _STABLE_OR_NOT,
        adjust=_stretch(8.0),
        check=_both_outcomes,
    ),
    stability_on_the_threshold=row(
        "logits on the limits of the band, shares of exactly the least, of the empty mask too, and equal IoUs",
        {
            **_RELEASED,
            "dynamic_multimask_stability_delta": 0.5,
            "dynamic_multimask_stability_thresh": 0.75,
        },
        {"single": literal(_SINGLE), "others": uniform(len(_SINGLE), 3, 2, 2), "ious": literal(_IOUS)},
        call=_choose,
        check=_chosen_as_expected,
        exact=True,
        bound64=1e-12,
    ),
    other_settings=row(
        "a linear score head, other heads and activation, and the first token as the object's",
        {
            "num_multimask_outputs": 4,
            "activation": Torch("ReLU"),
            "iou_head_depth": 2,
            "iou_head_hidden_dim": 24,
            "pred_obj_scores": True,
        },
        inputs(prompts=2, tokens=4),
    ),
    levels_left_out=row(
        "made for levels of high resolution but called without: the map is upscaled on its own",
        _RELEASED,
        inputs(),
        call=_without_levels,
    ),
    train=row(
        "in training the single mask is never chosen by stability",
        _RELEASED,
        _STABLE_OR_NOT,
        adjust=_stretch(4.0),
        train=True,
    ),
)

CASES = _SAM + _SAM2
