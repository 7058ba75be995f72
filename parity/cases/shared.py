"""Cases in the settings that all libraries can express: square maps, released widths.

Other libraries are made from configurations that know fewer settings; these cases are what they can be held to.
"""

from collections.abc import Mapping
from typing import Any

from parity.cases.calls import attention_chooses, gradients
from parity.execution.case import Case, Side, Spec, literal, make, uniform

_PROMPTS = {
    "embed_dim": 16,
    "image_embedding_size": (5, 5),
    "input_image_size": (80, 80),
    "mask_in_chans": 8,
}
_POINTS: Mapping[str, Spec] = {
    "points": literal([[[20.0, 30.5], [0.0, 0.0], [63.0, 75.0]], [[1.5, 70.0], [40.0, 2.0], [33.0, 44.0]]]),
    "labels": literal([[1, 0, -1], [0, 1, 1]]),
}
_BOXES: Mapping[str, Spec] = {"boxes": literal([[4.0, 8.0, 50.0, 70.0], [0.0, 0.5, 63.0, 20.0]])}
_MASKS: Mapping[str, Spec] = {"masks": uniform(2, 1, 20, 20, low=-8.0, high=8.0)}

_PADDED_BOX = {
    "transformers": "it adds a padding point to the two corners of a box, so that a box is three tokens"
}


def _encode(side: Side) -> Any:
    inputs = side.inputs
    points = (inputs["points"], inputs["labels"]) if "points" in inputs else None
    sparse, dense = side.net(points=points, boxes=inputs.get("boxes"), masks=inputs.get("masks"))
    return {"sparse": sparse, "dense": dense}


def _prompts(name: str, why: str, inputs: Mapping[str, Spec], **changes: Any) -> Case:
    settings: dict[str, Any] = {"kwargs": _PROMPTS, "call": _encode, **changes}
    return Case(block="PromptEncoder", name=name, why=why, inputs=inputs, **settings)


_AS_SAM = {**_PROMPTS, "embed_corner_labels": False}

_PROMPT_ENCODER = (
    _prompts("square_points", "clicks of both kinds and a padding point on a square map", _POINTS),
    _prompts("square_boxes", "a box on a square map, alone", _BOXES, known=_PADDED_BOX),
    _prompts("square_mask", "a mask on a square map", _MASKS),
    _prompts("square_points_sam_1", "clicks on a square map as in SAM 1", _POINTS, kwargs=_AS_SAM),
    _prompts("square_boxes_sam_1", "a box on a square map as in SAM 1", _BOXES, kwargs=_AS_SAM),
    _prompts("square_mask_sam_1", "clicks and a mask as in SAM 1", {**_POINTS, **_MASKS}, kwargs=_AS_SAM),
)

_SQUARE = {"num_heads": 2, "use_rel_pos": True, "input_size": (5, 5)}

_VIT = (
    Case(
        block="REAttention",
        name="square_rel_pos",
        why="relative positions on a square map, of the size that the tables were made for",
        kwargs={"dim": 12, **_SQUARE},
        inputs={"x": uniform(2, 5, 5, 12)},
        check=attention_chooses(),
    ),
    Case(
        block="REAttention",
        name="square_interpolated",
        why="tables of a square map, interpolated for one that is not",
        kwargs={"dim": 12, **_SQUARE},
        inputs={"x": uniform(2, 7, 3, 12)},
        check=attention_chooses(),
    ),
    Case(
        block="REAttention",
        name="square_gradients",
        why="the backward pass into the tables of a square map",
        kwargs={"dim": 12, **_SQUARE},
        inputs={"x": uniform(2, 5, 5, 12)},
        call=gradients(),
    ),
    Case(
        block="Block",
        name="square_global",
        why="a global block on a square map",
        kwargs={"dim": 12, **_SQUARE},
        inputs={"x": uniform(2, 5, 5, 12)},
    ),
)

_ATTENTION = {"embedding_dim": 16, "num_heads": 1, "feat_sizes": (3, 3)}


def small_layer(dropout: float) -> dict[str, Any]:
    """Arguments of a small layer of memory attention that reads memory of the released width."""
    return {
        "d_model": 16,
        "dim_feedforward": 24,
        "dropout": dropout,
        "self_attn": make("RoPEAttention", **_ATTENTION),
        "cross_attn": make("RoPEAttention", kv_in_dim=64, rope_k_repeat=True, **_ATTENTION),
    }


def _with_pointers(side: Side) -> Any:
    tgt, memory, pos, query_pos = side.inputs.values()
    return side.net(tgt, memory, pos=pos, query_pos=query_pos, num_k_exclude_rope=4)


_MEMORY: Mapping[str, Spec] = {
    "tgt": uniform(2, 9, 16),
    "memory": uniform(2, 22, 64),
    "pos": uniform(2, 22, 64),
    "query_pos": uniform(2, 9, 16),
}

_MEMORY_ATTENTION = (
    Case(
        block="MemoryAttentionLayer",
        name="released_memory_width",
        why="two frames of memory and four pointers, 64 wide as released",
        kwargs=small_layer(0.0),
        inputs=_MEMORY,
        call=_with_pointers,
    ),
    Case(
        block="MemoryAttentionLayer",
        name="released_memory_width_train",
        why="in training the three parts drop what they add in the same order",
        kwargs=small_layer(0.3),
        inputs=_MEMORY,
        call=_with_pointers,
        train=True,
    ),
    Case(
        block="MemoryAttention",
        name="released_memory_width",
        why="three layers read two frames and four pointers, 64 wide as released",
        kwargs={
            "d_model": 16,
            "pos_enc_at_input": True,
            "layer": make("MemoryAttentionLayer", **small_layer(0.0)),
            "num_layers": 3,
        },
        inputs={
            "curr": uniform(9, 2, 16),
            "memory": uniform(22, 2, 64),
            "curr_pos": uniform(9, 2, 16),
            "memory_pos": uniform(22, 2, 64),
        },
        call=lambda side: side.net(**side.inputs, num_obj_ptr_tokens=4),
        bound64=1e-10,
    ),
)

CASES = _PROMPT_ENCODER + _VIT + _MEMORY_ATTENTION
