"""Cases in the settings that all libraries can express: square maps, released widths.

Other libraries are made from configurations that know fewer settings; these cases are what they can be held to.
"""

from collections.abc import Mapping
from typing import Any

import torch

from parity.cases.calls import attention_chooses
from parity.cases.family import family, row
from parity.cases.imitations import instead
from parity.cases.memory_blocks import with_pointers
from parity.cases.prompt_encoder import encode
from parity.execution.case import Case, Known, Side, Spec, literal, make, uniform
from parity.execution.training import gradients

SQUARE_PROMPTS = {
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


def _as_corner_points(side: Side) -> Any:
    """Corners as points: a padding point ends these."""
    corners = side.inputs["boxes"].reshape(-1, 2, 2)
    kinds = torch.tensor([[2, 3]]).expand(len(corners), -1)
    sparse, dense = side.net(points=(corners, kinds), boxes=None, masks=None)
    return {"sparse": sparse, "dense": dense}


_PADDED_BOX = {
    "transformers": Known(
        cause="it adds a padding point to the two corners of a box, so that a box is three tokens",
        imitation=instead(_as_corner_points),
        shown="ours given the corners as points, which a padding point ends",
    )
}

_AS_SAM = {"embed_corner_labels": False}

_PROMPT_ENCODER = family(block="PromptEncoder", kwargs=SQUARE_PROMPTS, call=encode).of(
    square_points=row("clicks of both kinds and a padding point on a square map", inputs=_POINTS),
    square_boxes=row("a box on a square map, alone", inputs=_BOXES, known=_PADDED_BOX),
    square_mask=row("a mask on a square map", inputs=_MASKS),
    square_points_sam_1=row("clicks on a square map as in SAM 1", _AS_SAM, _POINTS),
    square_boxes_sam_1=row("a box on a square map as in SAM 1", _AS_SAM, _BOXES),
    square_mask_sam_1=row("clicks and a mask as in SAM 1", _AS_SAM, {**_POINTS, **_MASKS}),
)

_SQUARE = {"num_heads": 2, "use_rel_pos": True, "input_size": (5, 5)}

_VIT = (
    *family(block="REAttention", kwargs={"dim": 12, **_SQUARE}, check=attention_chooses()).of(
        square_rel_pos=row(
            "relative positions on a square map, of the size that the tables were made for",
            inputs={"x": uniform(2, 5, 5, 12)},
        ),
        square_interpolated=row(
            "tables of a square map, interpolated for one that is not", inputs={"x": uniform(2, 7, 3, 12)}
        ),
        square_gradients=row(
            "the backward pass into the tables of a square map",
            inputs={"x": uniform(2, 5, 5, 12)},
            check=None,
            call=gradients(),
        ),
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


LAYER_INPUTS: Mapping[str, Spec] = {
    "tgt": uniform(2, 9, 16),
    "memory": uniform(2, 22, 64),
    "pos": uniform(2, 22, 64),
    "query_pos": uniform(2, 9, 16),
}
"""A layer's features, two frames of memory with four pointers, and the encodings of both."""

SEQUENCES: Mapping[str, Spec] = {
    "curr": uniform(9, 2, 16),
    "memory": uniform(22, 2, 64),
    "curr_pos": uniform(9, 2, 16),
    "memory_pos": uniform(22, 2, 64),
}
"""The same for the whole of memory attention, the sequence first."""

_MEMORY_ATTENTION = (
    *family(block="MemoryAttentionLayer", inputs=LAYER_INPUTS, call=with_pointers(4)).of(
        released_memory_width=row(
            "two frames of memory and four pointers, 64 wide as released", small_layer(0.0)
        ),
        released_memory_width_train=row(
            "in training the three parts drop what they add in the same order", small_layer(0.3), train=True
        ),
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
        inputs=SEQUENCES,
        call=lambda side: side.net(**side.inputs, num_obj_ptr_tokens=4),
        bound64=1e-10,
    ),
)

CASES = _PROMPT_ENCODER + _VIT + _MEMORY_ATTENTION
