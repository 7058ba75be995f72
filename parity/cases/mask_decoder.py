"""Cases of the mask decoders of SAM 1 and SAM 2, small, on maps that are not square."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from parity.cases.two_way import EPS_DIFFERS
from parity.execution.case import Case, Make, NoCounterpart, Side, Spec, Torch, make, uniform

_HEIGHT, _WIDTH, _DIM, _PROMPTS = 6, 4, 32, 3


def _transformer(block: str, **more: Any) -> Make:
    arguments = {"depth": 2, "embedding_dim": _DIM, "num_heads": 4, "mlp_dim": 48, **more}
    return make(block, **arguments)


def _inputs(prompts: int = _PROMPTS, images: int = 1, tokens: int = 2) -> dict[str, Spec]:
    return {
        "image_embeddings": uniform(images, _DIM, _HEIGHT, _WIDTH),
        "image_pe": uniform(1, _DIM, _HEIGHT, _WIDTH, low=-1.0, high=1.0),
        "sparse_prompt_embeddings": uniform(prompts, tokens, _DIM),
        "dense_prompt_embeddings": uniform(prompts, _DIM, _HEIGHT, _WIDTH, low=-1.0, high=1.0),
    }


def _levels(images: int = 1) -> dict[str, Spec]:
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


_SAM = (
    Case(
        block="MaskDecoder",
        name="prompts",
        why="several prompts on one image; the first mask is for one prompt's sake, the others for ambiguity",
        kwargs={"transformer_dim": _DIM, "transformer": _transformer("TwoWayTransformer")},
        inputs=_inputs(),
        call=_decode,
        check=_mixed,
        bound64=1e-10,
        known=EPS_DIFFERS,
    ),
    Case(
        block="MaskDecoder",
        name="other_settings",
        why="more masks, another activation, and heads of other depth and width",
        kwargs={
            "transformer_dim": _DIM,
            "transformer": _transformer("TwoWayTransformer", depth=1, attention_downsample_rate=1),
            "num_multimask_outputs": 5,
            "activation": Torch("ReLU"),
            "iou_head_depth": 2,
            "iou_head_hidden_dim": 24,
        },
        inputs=_inputs(prompts=4, tokens=5),
        call=_decode,
        check=_mixed,
        bound64=1e-10,
        known=EPS_DIFFERS,
    ),
    Case(
        block="MaskDecoder",
        name="no_tokens",
        why="a mask prompt alone gives no tokens: only the decoder's own take part",
        kwargs={"transformer_dim": _DIM, "transformer": _transformer("TwoWayTransformer")},
        inputs=_inputs(prompts=8, tokens=0),
        call=_decode,
        check=_mixed,
        bound64=1e-10,
        known=EPS_DIFFERS,
    ),
)

# --- SAM 2 -------------------------------------------------------------------------------------------------

_RELEASED = {
    "use_high_res_features": True,
    "iou_prediction_use_sigmoid": True,
    "dynamic_multimask_via_stability": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "use_multimask_token_for_obj_ptr": True,
}


def _decode2(side: Side) -> Any:
    """Three masks, and one; the levels of high resolution where the case has them."""
    inputs = dict(side.inputs)
    levels = [inputs.pop(name) for name in ("stride4", "stride8") if name in inputs]
    repeat = inputs["image_embeddings"].shape[0] == 1
    results = {}
    for name, multimask in (("three", True), ("one", False)):
        masks, ious, tokens, scores = side.net(
            **inputs, multimask_output=multimask, repeat_image=repeat, high_res_features=levels or None
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


def _sam2(name: str, why: str, inputs: Mapping[str, Spec], **changes: Any) -> Case:
    kwargs = {"transformer_dim": _DIM, "transformer": _transformer("SAM2TwoWayTransformer")}
    settings: dict[str, Any] = {"call": _decode2, "check": _mixed, **changes}
    kwargs |= settings.pop("kwargs", {})
    return Case(
        block="SAM2MaskDecoder", name=name, why=why, kwargs=kwargs, inputs=inputs, bound64=1e-10, **settings
    )


_SAM2 = (
    _sam2("defaults", "without levels of high resolution or object scores the score is 10", _inputs()),
    _sam2(
        "released",
        "as released: levels of high resolution, object scores, tokens of all masks, choice by stability",
        {**_inputs(prompts=8), **_levels()},
        kwargs=_RELEASED,
        adjust=_stretch(24.0),
        check=_both_outcomes,
    ),
    _sam2(
        "image_for_each_prompt",
        "as many images as prompts: nothing is repeated, and levels are each prompt's own",
        {**_inputs(images=_PROMPTS), **_levels(images=_PROMPTS)},
        kwargs=_RELEASED,
    ),
    _sam2(
        "other_stability",
        "other limits of stability: a wider band around zero, and a lower share of pixels in it",
        {**_inputs(prompts=8), **_levels()},
        kwargs={
            **_RELEASED,
            "dynamic_multimask_stability_delta": 0.4,
            "dynamic_multimask_stability_thresh": 0.75,
        },
        adjust=_stretch(8.0),
        check=_both_outcomes,
    ),
    _sam2(
        "other_settings",
        "a linear score head, other heads and activation, and the first token as the object's",
        _inputs(prompts=2, tokens=4),
        kwargs={
            "num_multimask_outputs": 4,
            "activation": Torch("ReLU"),
            "iou_head_depth": 2,
            "iou_head_hidden_dim": 24,
            "pred_obj_scores": True,
        },
    ),
    _sam2(
        "levels_left_out",
        "made for levels of high resolution but called without: the map is upscaled on its own",
        _inputs(),
        kwargs=_RELEASED,
        call=_without_levels,
    ),
    _sam2(
        "train",
        "in training the single mask is never chosen by stability",
        {**_inputs(prompts=8), **_levels()},
        kwargs=_RELEASED,
        adjust=_stretch(4.0),
        train=True,
    ),
)

CASES = _SAM + _SAM2
