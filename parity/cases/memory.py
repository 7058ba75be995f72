"""Cases of SAM 2's memory: MemoryAttention and MemoryEncoder."""

from typing import Any

from parity.cases.family import family, row
from parity.execution.case import Make, NoCounterpart, Side, Spec, make, uniform

_DIM, _MEMORY, _SIDE = 16, 6, 3


def _layer(**more: Any) -> Make:
    def attention(**own: Any) -> Make:
        return make("RoPEAttention", embedding_dim=_DIM, num_heads=1, feat_sizes=(_SIDE, _SIDE), **own)

    return make(
        "MemoryAttentionLayer",
        d_model=_DIM,
        dim_feedforward=24,
        self_attn=attention(),
        cross_attn=attention(kv_in_dim=_MEMORY, rope_k_repeat=True),
        **more,
    )


def _kwargs(**more: Any) -> dict[str, Any]:
    return {
        "d_model": _DIM,
        "pos_enc_at_input": True,
        "layer": _layer(dropout=0.0),
        "num_layers": 2,
        **more,
    }


def _memory(frames: int, pointers: int, batch: int = 2) -> dict[str, Spec]:
    length = frames * _SIDE**2 + pointers
    return {
        "curr": uniform(_SIDE**2, batch, _DIM),
        "memory": uniform(length, batch, _MEMORY),
        "curr_pos": uniform(_SIDE**2, batch, _DIM),
        "memory_pos": uniform(length, batch, _MEMORY),
    }


def _of_one_frame(side: Side) -> Any:
    """Objects of one frame, each with a memory of its own: what they see is one map, of which each has a view."""
    inputs: dict[str, Any] = dict(side.inputs)
    objects = inputs["memory"].shape[1]
    frame = {name: inputs[name].expand(-1, objects, -1) for name in ("curr", "curr_pos")}
    return side.net(**(inputs | frame), num_obj_ptr_tokens=2)


def _attend(pointers: int, listed: bool = False) -> Any:
    def call(side: Side) -> Any:
        inputs: dict[str, Any] = dict(side.inputs)
        if listed:
            inputs |= {name: [inputs[name]] for name in ("curr", "curr_pos")}
        return side.net(**inputs, num_obj_ptr_tokens=pointers)

    return call


_ATTENTION = family(block="MemoryAttention", bound64=1e-10).of(
    frames_and_pointers=row(
        "two layers read three frames of memory and, at the end of it, pointers that are not rotated",
        _kwargs(),
        _memory(3, 4),
        call=_attend(4),
    ),
    objects_of_one_frame=row(
        "three objects of one frame, each with its own memory",
        _kwargs(),
        _memory(2, 2, batch=3) | {name: uniform(_SIDE**2, 1, _DIM) for name in ("curr", "curr_pos")},
        call=_of_one_frame,
    ),
    released_layer=row(
        "the released layer, 256 wide, with the encodings of the frame added at the input",
        {"d_model": 256, "pos_enc_at_input": True, "layer": make("MemoryAttentionLayer"), "num_layers": 1},
        {
            "curr": uniform(16, 1, 256),
            "memory": uniform(36, 1, 64),
            "curr_pos": uniform(16, 1, 256),
            "memory_pos": uniform(36, 1, 64),
        },
        call=_attend(4),
    ),
    no_encoding_at_input=row(
        "without encodings at the input; they come as lists of one level, and layers add them",
        _kwargs(pos_enc_at_input=False, layer=_layer(dropout=0.2, pos_enc_at_attn=True)),
        _memory(1, 0),
        call=_attend(0, listed=True),
    ),
    not_batch_first=row(
        "layers that want the sequence first get everything as it came",
        _kwargs(batch_first=False),
        {
            name: uniform(4, _SIDE**2, channels)
            for name, channels in (
                ("curr", _DIM),
                ("memory", _MEMORY),
                ("curr_pos", _DIM),
                ("memory_pos", _MEMORY),
            )
        },
        call=_attend(0),
    ),
    train_dropout=row(
        "in training every layer drops what it adds in places, in the same order",
        _kwargs(layer=_layer(dropout=0.3)),
        _memory(2, 1),
        call=_attend(1),
        train=True,
    ),
)


def _encode(**options: Any) -> Any:
    return lambda side: side.net(side.inputs["pix_feat"], side.inputs["masks"], **options)


def _resized(side: Side) -> Any:
    if side.library.name == "meta":
        raise NoCounterpart("cannot resize masks")
    return _encode()(side)


_MAP, _MASKS = uniform(2, 256, 3, 4), uniform(2, 1, 48, 64, low=-4.0, high=4.0)

_ENCODER = family(block="MemoryEncoder", bound64=1e-10).of(
    released=row(
        "masks through a sigmoid, down to the map, added to it, fused, projected to 64 channels",
        {"out_dim": 64},
        {"pix_feat": _MAP, "masks": _MASKS},
        call=_encode(),
    ),
    ready_masks=row(
        "masks that went through the sigmoid already; 256 channels need no projection",
        {"out_dim": 256},
        {"pix_feat": _MAP, "masks": _MASKS},
        call=_encode(skip_mask_sigmoid=True),
    ),
    resized_masks=row(
        "masks of another size are resized to the one that fits the map",
        {"out_dim": 32, "interpol_size": (48, 64)},
        {"pix_feat": _MAP, "masks": uniform(2, 1, 30, 70, low=-4.0, high=4.0)},
        call=_resized,
    ),
    own_parts=row(
        "other parts, given from outside, for maps of another width",
        {
            "out_dim": 10,
            "in_dim": 24,
            "mask_downsampler": make("MaskDownSampler", embed_dim=24),
            "fuser": make("Fuser", layer=make("CXBlock", dim=24), num_layers=1),
            "position_encoding": make("PositionEmbeddingSine", num_pos_feats=12),
        },
        {"pix_feat": uniform(1, 24, 3, 4), "masks": uniform(1, 1, 48, 64, low=-4.0, high=4.0)},
        call=_encode(),
    ),
)

CASES = _ATTENTION + _ENCODER
