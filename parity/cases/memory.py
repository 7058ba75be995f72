"""Cases of SAM 2's memory: MemoryAttention and MemoryEncoder."""

from typing import Any

from parity.execution.case import Case, Make, NoCounterpart, Side, Spec, make, uniform

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


def _attend(pointers: int, listed: bool = False) -> Any:
    def call(side: Side) -> Any:
        inputs: dict[str, Any] = dict(side.inputs)
        if listed:
            inputs |= {name: [inputs[name]] for name in ("curr", "curr_pos")}
        return side.net(**inputs, num_obj_ptr_tokens=pointers)

    return call


_ATTENTION = (
    Case(
        block="MemoryAttention",
        name="frames_and_pointers",
        why="two layers read three frames of memory and, at the end of it, pointers that are not rotated",
        kwargs=_kwargs(),
        inputs=_memory(3, 4),
        call=_attend(4),
        bound64=1e-10,
    ),
    Case(
        block="MemoryAttention",
        name="released_layer",
        why="the released layer, 256 wide, with the encodings of the frame added at the input",
        kwargs={
            "d_model": 256,
            "pos_enc_at_input": True,
            "layer": make("MemoryAttentionLayer"),
            "num_layers": 1,
        },
        inputs={
            "curr": uniform(16, 1, 256),
            "memory": uniform(36, 1, 64),
            "curr_pos": uniform(16, 1, 256),
            "memory_pos": uniform(36, 1, 64),
        },
        call=_attend(4),
        bound64=1e-10,
    ),
    Case(
        block="MemoryAttention",
        name="no_encoding_at_input",
        why="without encodings at the input; they come as lists of one level, and layers add them",
        kwargs=_kwargs(pos_enc_at_input=False, layer=_layer(dropout=0.2, pos_enc_at_attn=True)),
        inputs=_memory(1, 0),
        call=_attend(0, listed=True),
        bound64=1e-10,
    ),
    Case(
        block="MemoryAttention",
        name="not_batch_first",
        why="layers that want the sequence first get everything as it came",
        kwargs=_kwargs(batch_first=False),
        inputs={
            name: uniform(4, _SIDE**2, channels)
            for name, channels in (
                ("curr", _DIM),
                ("memory", _MEMORY),
                ("curr_pos", _DIM),
                ("memory_pos", _MEMORY),
            )
        },
        call=_attend(0),
        bound64=1e-10,
    ),
    Case(
        block="MemoryAttention",
        name="train_dropout",
        why="in training every layer drops what it adds in places, in the same order",
        kwargs=_kwargs(layer=_layer(dropout=0.3)),
        inputs=_memory(2, 1),
        call=_attend(1),
        train=True,
        bound64=1e-10,
    ),
)


def _encode(**options: Any) -> Any:
    return lambda side: side.net(side.inputs["pix_feat"], side.inputs["masks"], **options)


def _resized(side: Side) -> Any:
    if side.library.name == "meta":
        raise NoCounterpart("cannot resize masks")
    return _encode()(side)


_MAP, _MASKS = uniform(2, 256, 3, 4), uniform(2, 1, 48, 64, low=-4.0, high=4.0)

_ENCODER = (
    Case(
        block="MemoryEncoder",
        name="released",
        why="masks through a sigmoid, down to the map, added to it, fused, projected to 64 channels",
        kwargs={"out_dim": 64},
        inputs={"pix_feat": _MAP, "masks": _MASKS},
        call=_encode(),
        bound64=1e-10,
    ),
    Case(
        block="MemoryEncoder",
        name="ready_masks",
        why="masks that went through the sigmoid already; 256 channels need no projection",
        kwargs={"out_dim": 256},
        inputs={"pix_feat": _MAP, "masks": _MASKS},
        call=_encode(skip_mask_sigmoid=True),
        bound64=1e-10,
    ),
    Case(
        block="MemoryEncoder",
        name="resized_masks",
        why="masks of another size are resized to the one that fits the map",
        kwargs={"out_dim": 32, "interpol_size": (48, 64)},
        inputs={"pix_feat": _MAP, "masks": uniform(2, 1, 30, 70, low=-4.0, high=4.0)},
        call=_resized,
        bound64=1e-10,
    ),
    Case(
        block="MemoryEncoder",
        name="own_parts",
        why="other parts, given from outside, for maps of another width",
        kwargs={
            "out_dim": 10,
            "in_dim": 24,
            "mask_downsampler": make("MaskDownSampler", embed_dim=24),
            "fuser": make("Fuser", layer=make("CXBlock", dim=24), num_layers=1),
            "position_encoding": make("PositionEmbeddingSine", num_pos_feats=12),
        },
        inputs={"pix_feat": uniform(1, 24, 3, 4), "masks": uniform(1, 1, 48, 64, low=-4.0, high=4.0)},
        call=_encode(),
        bound64=1e-10,
    ),
)

CASES = _ATTENTION + _ENCODER
