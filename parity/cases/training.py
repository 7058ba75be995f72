"""Cases of training: gradients of every parameter, equal dropped places on both sides, steps of an optimizer.

The families have gradients of the single blocks; here are the larger parts, whole small models, what drops in
training, and five steps of SGD and of AdamW whose losses and weights must follow upstream's.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional

from parity.cases import mask_decoder, sam, sam2_settings
from parity.cases.drive import pictures
from parity.cases.family import Row, family, row
from parity.cases.pyramids import SMALL_HIERA, encoder
from parity.cases.shared import LAYER_INPUTS, SEQUENCES, SQUARE_PROMPTS, small_layer
from parity.cases.two_way import EPS_DIFFERS
from parity.execution.case import Case, Side, Spec, literal, make, uniform
from parity.execution.training import gradients, loss_of, plain, steps

SMALL_SAM2 = {**sam2_settings.small_parts(), **sam2_settings.RELEASED}
_KEY_BIAS = ("k_proj.bias",)
_SMALL_HIERA = {**SMALL_HIERA, "embed_dim": 8, "stages": (1, 2, 1, 1), "global_att_blocks": (2,)}

_gradients = partial(gradients, loss=loss_of)


def _memory(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    return side.net(**inputs, num_k_exclude_rope=4)


def _sequence(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    return side.net(**inputs, num_obj_ptr_tokens=4)


def _levels(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    return side.net(list(inputs.values()))[0]


def _encoded(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    return side.net(inputs["x"])["backbone_fpn"]


def _prompted(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    points = (inputs["points"], inputs["labels"]) if "points" in inputs else None
    return side.net(points=points, boxes=None, masks=inputs.get("masks"))


def _decoded(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    return side.net(**inputs, multimask_output=True)


def _decoded2(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    given = dict(inputs)
    levels = [given.pop("stride4"), given.pop("stride8")]
    return side.net(**given, multimask_output=True, repeat_image=False, high_res_features=levels)


def _sam(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    """One image through the three parts of SAM 1."""
    net = side.net
    sparse, dense = net.prompt_encoder(points=(inputs["points"], inputs["labels"]), boxes=None, masks=None)
    return net.mask_decoder(
        image_embeddings=net.image_encoder(inputs["image"]),
        image_pe=net.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )


def _sam2(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    """Two images through the parts of SAM 2: pyramid, prompts, decoder, memory encoder, memory attention."""
    net = side.net
    levels = net.forward_image(inputs["image"])["backbone_fpn"]
    sparse, dense = net.sam_prompt_encoder(
        points=(inputs["points"], inputs["labels"]), boxes=None, masks=None
    )
    masks, ious, tokens, scores = net.sam_mask_decoder(
        image_embeddings=levels[-1],
        image_pe=net.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        repeat_image=False,
        high_res_features=levels[:-1],
    )
    memory = net.memory_encoder(levels[-1], functional.interpolate(masks[:, :1], scale_factor=4.0))
    now = levels[-1].flatten(2).permute(2, 0, 1)
    then = memory["vision_features"].flatten(2).permute(2, 0, 1)
    place = memory["vision_pos_enc"][0].flatten(2).permute(2, 0, 1)
    attended = net.memory_attention(
        curr=now, curr_pos=now * 0.5, memory=then, memory_pos=place, num_obj_ptr_tokens=0
    )
    return {"masks": masks, "ious": ious, "tokens": tokens, "scores": scores, "attended": attended}


_CLICKS: Mapping[str, Spec] = {
    "points": literal([[[20.0, 30.5]], [[50.0, 11.0]]]),
    "labels": literal([[1], [0]]),
}
_NECK = {
    "d_model": 256,
    "backbone_channel_list": [24, 16, 12, 8],
    "fpn_interp_model": "nearest",
    "fpn_top_down_levels": [2, 3],
}

_PARTS = family(name="gradients", bound64=1e-10).of(
    FpnNeck=row(
        "the backward pass through the top-down path, into all levels",
        _NECK,
        {f"level{i}": uniform(1, c, 16 >> i, 16 >> i) for i, c in enumerate((8, 12, 16, 24))},
        call=_gradients(_levels),
    ),
    ImageEncoder=row(
        "the backward pass through neck and trunk together",
        encoder(1).kwargs,
        {"x": uniform(1, 3, 64, 64)},
        call=_gradients(_encoded),
    ),
    PromptEncoder=row(
        "the backward pass into the embeddings of labels and the convolutions of masks",
        SQUARE_PROMPTS,
        {**_CLICKS, "masks": uniform(2, 1, 20, 20)},
        call=_gradients(_prompted, fixed=("points",)),
    ),
    MaskDecoder=row(
        "the backward pass from masks and scores into image and prompts",
        {"transformer_dim": 32, "transformer": mask_decoder.transformer("TwoWayTransformer")},
        mask_decoder.inputs(),
        call=_gradients(_decoded, vanishing=_KEY_BIAS),
        known=EPS_DIFFERS,
    ),
    SAM2MaskDecoder=row(
        "the backward pass from masks, scores and tokens into image, levels and prompts",
        {
            "transformer_dim": 32,
            "transformer": mask_decoder.transformer("SAM2TwoWayTransformer"),
            **mask_decoder.RELEASED_HEADS,
        },
        {**mask_decoder.inputs(images=3), **mask_decoder.levels(images=3)},
        call=_gradients(_decoded2, vanishing=_KEY_BIAS),
        bound=3.0,
        reason="predicted IoUs are nine numbers, and how exact upstream's happen to be is luck",
    ),
    MemoryAttention=row(
        "the backward pass into features, memory and both encodings",
        {
            "d_model": 16,
            "pos_enc_at_input": True,
            "layer": make("MemoryAttentionLayer", **small_layer(0.0)),
            "num_layers": 2,
        },
        SEQUENCES,
        call=_gradients(_sequence, vanishing=_KEY_BIAS),
    ),
    MemoryEncoder=row(
        "the backward pass into features and masks, through the layer scale",
        {"out_dim": 64},
        {"pix_feat": uniform(1, 256, 2, 3), "masks": uniform(1, 1, 32, 48)},
        call=_gradients(lambda side, inputs: side.net(*inputs.values())["vision_features"]),
    ),
    SAMModel=row(
        "the backward pass through a whole small SAM, from masks to pixels",
        sam.SMALL_PARTS,
        {"image": pictures(1, 3, 64, 64), **_CLICKS},
        call=_gradients(_sam, vanishing=_KEY_BIAS, fixed=("points",)),
        known=EPS_DIFFERS,
    ),
    SAM2Model=row(
        "the backward pass through a whole small SAM 2, from memory and masks to pixels",
        SMALL_SAM2,
        {"image": pictures(2, 3, 128, 128), **_CLICKS},
        call=_gradients(_sam2, vanishing=_KEY_BIAS, fixed=("points",)),
    ),
)

_DROPPED = family(name="gradients_with_drop_path", call=_gradients(drops=True), train=True, bound64=1e-10).of(
    Attention=row(
        "equal attention weights are dropped on both sides: outputs and gradients agree",
        {"embedding_dim": 16, "num_heads": 2, "dropout": 0.4},
        {"q": uniform(2, 5, 16), "k": uniform(2, 7, 16), "v": uniform(2, 7, 16)},
        name="gradients_with_dropout",
        call=_gradients(drops=True, vanishing=_KEY_BIAS),
    ),
    CXBlock=row(
        "equal items are dropped on both sides of the memory fuser's block",
        {"dim": 8, "kernel_size": 3, "padding": 1, "drop_path": 0.5, "layer_scale_init_value": 0.5},
        {"x": uniform(6, 8, 4, 5)},
    ),
    MultiScaleBlock=row(
        "equal branches are dropped on both sides, in windows with pooled queries",
        {"dim": 8, "dim_out": 16, "num_heads": 2, "q_stride": (2, 2), "window_size": 4, "drop_path": 0.4},
        {"x": uniform(6, 7, 8, 8)},
    ),
    MemoryAttentionLayer=row(
        "equal places are dropped in all three parts and inside the perceptron",
        small_layer(0.3),
        LAYER_INPUTS,
        name="gradients_with_dropout",
        call=_gradients(_memory, drops=True, vanishing=_KEY_BIAS),
    ),
    Hiera=row(
        "equal branches of a whole trunk are dropped, with the rates growing from block to block",
        {**_SMALL_HIERA, "drop_path_rate": 0.5},
        {"x": uniform(3, 3, 64, 64)},
    ),
)


_CHAOTIC: Mapping[str, Any] = {
    "bound": math.inf,
    "reason": "steps through its norms are chaotic: another instruction set gives R 84; float64 alone judges",
}


def _followed(optimizer: str) -> tuple[Case, ...]:
    """Five steps of one optimizer, of blocks and of a whole model."""

    def after(
        what: str, kwargs: Mapping[str, Any], inputs: Mapping[str, Spec], run: Any = plain, **options: Any
    ) -> Row:
        luck = {key: options.pop(key) for key in ("bound", "reason") if key in options}
        why = f"losses and weights of five steps of {optimizer} on {what}"
        return row(why, kwargs, inputs, call=steps(optimizer, run, **options), **luck)

    return family(name=f"five_steps_of_{optimizer}", train=True, steps=True, bound64=1e-10).of(
        MultiScaleBlock=after(
            "a block with drop path",
            {"dim": 8, "dim_out": 16, "num_heads": 2, "window_size": 4, "drop_path": 0.3},
            {"x": uniform(4, 7, 8, 8)},
            drops=True,
        ),
        MemoryAttentionLayer=after(
            "a layer with dropout", small_layer(0.1), LAYER_INPUTS, _memory, drops=True
        ),
        Hiera=after(
            "a small trunk with drop path",
            {**_SMALL_HIERA, "drop_path_rate": 0.2},
            {"x": uniform(2, 3, 64, 64)},
            drops=True,
            **(_CHAOTIC if optimizer == "SGD" else {}),
        ),
        SAM2Model=after(
            "a whole small SAM 2",
            SMALL_SAM2,
            {"image": pictures(2, 3, 128, 128), **_CLICKS},
            _sam2,
            rate=0.02,
            bound=4.0,
            reason="losses are five numbers, and how exact upstream's happen to be is luck",
        ),
    )


CASES = (*_PARTS, *_DROPPED, *_followed("SGD"), *_followed("AdamW"))
