"""Cases of training: gradients of every parameter, equal dropped places on both sides, steps of an optimizer.

The families have gradients of the single blocks; here are the larger parts, whole small models, what drops in
training, and five steps of SGD and of AdamW whose losses and weights must follow upstream's.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional

from parity.cases import sam, sam2_settings
from parity.cases.drive import pictures
from parity.cases.pyramids import encoder
from parity.cases.shared import small_layer
from parity.cases.two_way import EPS_DIFFERS
from parity.execution.case import Case, Side, Spec, literal, make, uniform
from parity.execution.training import gradients, steps

SMALL_SAM2 = {**sam2_settings.small_parts(), **sam2_settings.RELEASED}
_KEY_BIAS = ("k_proj.bias",)
_SMALL_HIERA: dict[str, Any] = {
    "embed_dim": 8,
    "stages": (1, 2, 1, 1),
    "window_spec": (8, 4, 14, 7),
    "window_pos_embed_bkg_spatial_size": (7, 7),
    "global_att_blocks": (2,),
}


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


_DECODER_INPUTS: Mapping[str, Spec] = {
    "image_embeddings": uniform(3, 32, 6, 4),
    "image_pe": uniform(1, 32, 6, 4, low=-1.0, high=1.0),
    "sparse_prompt_embeddings": uniform(3, 2, 32),
    "dense_prompt_embeddings": uniform(3, 32, 6, 4, low=-1.0, high=1.0),
}
_TRANSFORMER = {"depth": 2, "embedding_dim": 32, "num_heads": 4, "mlp_dim": 48}
_SAM2_HEADS = {
    "use_high_res_features": True,
    "iou_prediction_use_sigmoid": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "use_multimask_token_for_obj_ptr": True,
}
_CLICKS: Mapping[str, Spec] = {
    "points": literal([[[20.0, 30.5]], [[50.0, 11.0]]]),
    "labels": literal([[1], [0]]),
}
_MEMORY: Mapping[str, Spec] = {
    "tgt": uniform(2, 9, 16),
    "memory": uniform(2, 22, 64),
    "pos": uniform(2, 22, 64),
    "query_pos": uniform(2, 9, 16),
}
_SEQUENCE: Mapping[str, Spec] = {
    "curr": uniform(9, 2, 16),
    "memory": uniform(22, 2, 64),
    "curr_pos": uniform(9, 2, 16),
    "memory_pos": uniform(22, 2, 64),
}
_PYRAMID = {f"level{i}": uniform(1, c, 16 >> i, 16 >> i) for i, c in enumerate((8, 12, 16, 24))}
_NECK = {
    "d_model": 256,
    "backbone_channel_list": [24, 16, 12, 8],
    "fpn_interp_model": "nearest",
    "fpn_top_down_levels": [2, 3],
}
_PROMPTS = {
    "embed_dim": 16,
    "image_embedding_size": (5, 5),
    "input_image_size": (80, 80),
    "mask_in_chans": 8,
}


def _case(block: str, name: str, why: str, **rest: Any) -> Case:
    return Case(block=block, name=name, why=why, **{"bound64": 1e-10, **rest})


_PARTS = (
    _case(
        "FpnNeck",
        "gradients",
        "the backward pass through the top-down path, into all levels",
        kwargs=_NECK,
        inputs=_PYRAMID,
        call=gradients(_levels),
    ),
    _case(
        "ImageEncoder",
        "gradients",
        "the backward pass through neck and trunk together",
        kwargs=dict(encoder(1).kwargs),
        inputs={"x": uniform(1, 3, 64, 64)},
        call=gradients(_encoded),
    ),
    _case(
        "PromptEncoder",
        "gradients",
        "the backward pass into the embeddings of labels and the convolutions of masks",
        kwargs=_PROMPTS,
        inputs={**_CLICKS, "masks": uniform(2, 1, 20, 20)},
        call=gradients(_prompted, fixed=("points",)),
    ),
    _case(
        "MaskDecoder",
        "gradients",
        "the backward pass from masks and scores into image and prompts",
        kwargs={"transformer_dim": 32, "transformer": make("TwoWayTransformer", **_TRANSFORMER)},
        inputs={**_DECODER_INPUTS, "image_embeddings": uniform(1, 32, 6, 4)},
        call=gradients(_decoded, vanishing=_KEY_BIAS),
        known=EPS_DIFFERS,
    ),
    _case(
        "SAM2MaskDecoder",
        "gradients",
        "the backward pass from masks, scores and tokens into image, levels and prompts",
        kwargs={
            "transformer_dim": 32,
            "transformer": make("SAM2TwoWayTransformer", **_TRANSFORMER),
            **_SAM2_HEADS,
        },
        inputs={**_DECODER_INPUTS, "stride4": uniform(3, 4, 24, 16), "stride8": uniform(3, 8, 12, 8)},
        call=gradients(_decoded2, vanishing=_KEY_BIAS),
        bound=3.0,
        reason="predicted IoUs are nine numbers, and how exact upstream's happen to be is luck",
    ),
    _case(
        "MemoryAttention",
        "gradients",
        "the backward pass into features, memory and both encodings",
        kwargs={
            "d_model": 16,
            "pos_enc_at_input": True,
            "layer": make("MemoryAttentionLayer", **small_layer(0.0)),
            "num_layers": 2,
        },
        inputs=_SEQUENCE,
        call=gradients(_sequence, vanishing=_KEY_BIAS),
    ),
    _case(
        "MemoryEncoder",
        "gradients",
        "the backward pass into features and masks, through the layer scale",
        kwargs={"out_dim": 64},
        inputs={"pix_feat": uniform(1, 256, 2, 3), "masks": uniform(1, 1, 32, 48)},
        call=gradients(lambda side, inputs: side.net(*inputs.values())["vision_features"]),
    ),
    _case(
        "SAMModel",
        "gradients",
        "the backward pass through a whole small SAM, from masks to pixels",
        kwargs=sam.SMALL_PARTS,
        inputs={"image": pictures(1, 3, 64, 64), **_CLICKS},
        call=gradients(_sam, vanishing=_KEY_BIAS, fixed=("points",)),
        known=EPS_DIFFERS,
    ),
    _case(
        "SAM2Model",
        "gradients",
        "the backward pass through a whole small SAM 2, from memory and masks to pixels",
        kwargs=SMALL_SAM2,
        inputs={"image": pictures(2, 3, 128, 128), **_CLICKS},
        call=gradients(_sam2, vanishing=_KEY_BIAS, fixed=("points",)),
    ),
)

_DROPS = (
    _case(
        "Attention",
        "gradients_with_dropout",
        "equal attention weights are dropped on both sides: outputs and gradients agree",
        kwargs={"embedding_dim": 16, "num_heads": 2, "dropout": 0.4},
        inputs={"q": uniform(2, 5, 16), "k": uniform(2, 7, 16), "v": uniform(2, 7, 16)},
        call=gradients(drops=True, vanishing=_KEY_BIAS),
        train=True,
    ),
    _case(
        "CXBlock",
        "gradients_with_drop_path",
        "equal items are dropped on both sides of the memory fuser's block",
        kwargs={"dim": 8, "kernel_size": 3, "padding": 1, "drop_path": 0.5, "layer_scale_init_value": 0.5},
        inputs={"x": uniform(6, 8, 4, 5)},
        call=gradients(drops=True),
        train=True,
    ),
    _case(
        "MultiScaleBlock",
        "gradients_with_drop_path",
        "equal branches are dropped on both sides, in windows with pooled queries",
        kwargs={
            "dim": 8,
            "dim_out": 16,
            "num_heads": 2,
            "q_stride": (2, 2),
            "window_size": 4,
            "drop_path": 0.4,
        },
        inputs={"x": uniform(6, 7, 8, 8)},
        call=gradients(drops=True),
        train=True,
    ),
    _case(
        "MemoryAttentionLayer",
        "gradients_with_dropout",
        "equal places are dropped in all three parts and inside the perceptron",
        kwargs=small_layer(0.3),
        inputs=_MEMORY,
        call=gradients(_memory, drops=True, vanishing=_KEY_BIAS),
        train=True,
    ),
    _case(
        "Hiera",
        "gradients_with_drop_path",
        "equal branches of a whole trunk are dropped, with the rates growing from block to block",
        kwargs={**_SMALL_HIERA, "drop_path_rate": 0.5},
        inputs={"x": uniform(3, 3, 64, 64)},
        call=gradients(drops=True),
        train=True,
    ),
)


def _trained(block: str, what: str, run: Any = None, **rest: Any) -> tuple[Case, ...]:
    """Five steps of each optimizer."""
    more = {} if run is None else {"run": run}
    drops, rate = rest.pop("drops", False), rest.pop("rate", 1.0)
    return tuple(
        _case(
            block,
            f"five_steps_of_{optimizer}",
            f"losses and weights of five steps of {optimizer} on {what}",
            call=steps(optimizer, drops=drops, rate=rate, **more),
            train=True,
            **rest,
        )
        for optimizer in ("SGD", "AdamW")
    )


_STEPS = (
    *_trained(
        "MultiScaleBlock",
        "a block with drop path",
        kwargs={"dim": 8, "dim_out": 16, "num_heads": 2, "window_size": 4, "drop_path": 0.3},
        inputs={"x": uniform(4, 7, 8, 8)},
        drops=True,
    ),
    *_trained(
        "MemoryAttentionLayer",
        "a layer with dropout",
        _memory,
        kwargs=small_layer(0.1),
        inputs=_MEMORY,
        drops=True,
    ),
    *_trained(
        "Hiera",
        "a small trunk with drop path",
        kwargs={**_SMALL_HIERA, "drop_path_rate": 0.2},
        inputs={"x": uniform(2, 3, 64, 64)},
        drops=True,
    ),
    *_trained(
        "SAM2Model",
        "a whole small SAM 2",
        _sam2,
        kwargs=SMALL_SAM2,
        inputs={"image": pictures(2, 3, 128, 128), **_CLICKS},
        rate=0.02,
        bound=4.0,
        reason="losses are five numbers, and how exact upstream's happen to be is luck",
    ),
)

CASES = _PARTS + _DROPS + _STEPS
