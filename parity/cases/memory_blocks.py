"""Cases of the blocks of SAM 2's memory: MaskDownSampler, CXBlock, Fuser, MemoryAttentionLayer."""

from typing import Any

from parity.cases.calls import gradients, some_items_pass_through, with_input
from parity.execution.case import Case, Side, Spec, Torch, make, uniform

_RELEASED = {"kernel_size": 3, "stride": 2, "padding": 1, "total_stride": 16}

_DOWN_SAMPLER = (
    Case(
        block="MaskDownSampler",
        name="defaults",
        why="two steps of stride 4 without overlap, to 256 channels",
        inputs={"x": uniform(1, 1, 32, 48)},
    ),
    Case(
        block="MaskDownSampler",
        name="released",
        why="the released settings: four steps of stride 2, kernel 3, channels times four in each",
        kwargs={"embed_dim": 24, **_RELEASED},
        inputs={"x": uniform(2, 1, 32, 48)},
    ),
    Case(
        block="MaskDownSampler",
        name="odd_size",
        why="odd sides are rounded up by the padding in every step",
        kwargs={"embed_dim": 8, **_RELEASED},
        inputs={"x": uniform(1, 1, 35, 21)},
    ),
    Case(
        block="MaskDownSampler",
        name="one_step_relu",
        why="a single step and another activation, which sees the normed map",
        kwargs={
            "embed_dim": 6,
            "kernel_size": 2,
            "stride": 2,
            "total_stride": 2,
            "activation": Torch("ReLU"),
        },
        inputs={"x": uniform(2, 1, 10, 6)},
    ),
    Case(
        block="MaskDownSampler",
        name="no_step",
        why="a total stride of 1 leaves the 1 x 1 convolution alone",
        kwargs={"embed_dim": 5, "stride": 2, "total_stride": 1},
        inputs={"x": uniform(2, 1, 4, 3)},
    ),
    Case(
        block="MaskDownSampler",
        name="resized_down",
        why="a mask of another size is resized first, with smoothing where it shrinks",
        kwargs={"embed_dim": 8, **_RELEASED, "interpol_size": (32, 16)},
        inputs={"x": uniform(2, 1, 50, 40)},
    ),
    Case(
        block="MaskDownSampler",
        name="resized_up",
        why="a smaller mask is resized bilinearly, without aligned corners",
        kwargs={"embed_dim": 8, "total_stride": 16, "interpol_size": [32, 32]},
        inputs={"x": uniform(1, 1, 20, 27)},
    ),
    Case(
        block="MaskDownSampler",
        name="resized_to_itself",
        why="a mask that has the wanted size already is taken as it is",
        kwargs={"embed_dim": 8, **_RELEASED, "interpol_size": (16, 32)},
        inputs={"x": uniform(1, 1, 16, 32)},
    ),
    Case(
        block="MaskDownSampler",
        name="gradients",
        why="the backward pass through strided convolutions and norms over channels",
        kwargs={"embed_dim": 12, "kernel_size": 3, "stride": 2, "padding": 1, "total_stride": 4},
        inputs={"x": uniform(2, 1, 19, 24)},
        call=gradients(),
    ),
)

_CX_BLOCK = (
    Case(
        block="CXBlock",
        name="defaults",
        why="a 7 x 7 convolution of each channel alone, the norm, two linears with GELU, the layer scale",
        kwargs={"dim": 12},
        inputs={"x": uniform(2, 12, 9, 6)},
    ),
    Case(
        block="CXBlock",
        name="full_convolution",
        why="use_dwconv=False mixes the channels in the first convolution",
        kwargs={"dim": 6, "kernel_size": 3, "padding": 1, "use_dwconv": False},
        inputs={"x": uniform(2, 6, 5, 4)},
    ),
    Case(
        block="CXBlock",
        name="no_layer_scale",
        why="an initial layer scale of 0 means that there is none, not even in the state dict",
        kwargs={"dim": 8, "kernel_size": 5, "padding": 2, "layer_scale_init_value": 0.0},
        inputs={"x": uniform(1, 8, 4, 7)},
    ),
    Case(
        block="CXBlock",
        name="smaller_than_kernel",
        why="a map smaller than the kernel is padding for the most part",
        kwargs={"dim": 4, "layer_scale_init_value": 0.5},
        inputs={"x": uniform(3, 4, 2, 1)},
    ),
    Case(
        block="CXBlock",
        name="train_drop_path",
        why="in training the branch is dropped for some items",
        kwargs={"dim": 4, "kernel_size": 3, "padding": 1, "drop_path": 0.5},
        inputs={"x": uniform(12, 4, 3, 3)},
        call=with_input,
        train=True,
        check=some_items_pass_through,
    ),
    Case(
        block="CXBlock",
        name="gradients",
        why="the backward pass, into the layer scale too",
        kwargs={"dim": 12, "kernel_size": 3, "padding": 1},
        inputs={"x": uniform(2, 12, 7, 5)},
        call=gradients(),
    ),
)

_SMALL = make("CXBlock", dim=8, kernel_size=3, padding=1)

_FUSER = (
    Case(
        block="Fuser",
        name="two_layers",
        why="the layers are copies with weights of their own, one after the other",
        kwargs={"layer": _SMALL, "num_layers": 2},
        inputs={"x": uniform(2, 8, 5, 4)},
    ),
    Case(
        block="Fuser",
        name="projection",
        why="a 1 x 1 convolution comes before the layers where it is asked for",
        kwargs={"layer": _SMALL, "num_layers": 1, "dim": 8, "input_projection": True},
        inputs={"x": uniform(1, 8, 3, 6)},
    ),
    Case(
        block="Fuser",
        name="width_without_projection",
        why="a width alone makes no projection",
        kwargs={"layer": make("CXBlock", dim=8, kernel_size=1, padding=0), "num_layers": 3, "dim": 8},
        inputs={"x": uniform(1, 8, 4, 4)},
    ),
    Case(
        block="Fuser",
        name="no_layers",
        why="without layers the projection is all there is",
        kwargs={"layer": _SMALL, "num_layers": 0, "dim": 8, "input_projection": True},
        inputs={"x": uniform(2, 8, 2, 3)},
    ),
    Case(
        block="Fuser",
        name="gradients",
        why="the backward pass through the projection and two layers",
        kwargs={"layer": _SMALL, "num_layers": 2, "dim": 8, "input_projection": True},
        inputs={"x": uniform(2, 8, 5, 6)},
        call=gradients(),
    ),
)


def _own(**more: Any) -> Any:
    return make("RoPEAttention", embedding_dim=16, num_heads=1, feat_sizes=(3, 3), **more)


def _cross(**more: Any) -> Any:
    return make(
        "RoPEAttention",
        embedding_dim=16,
        num_heads=1,
        kv_in_dim=6,
        rope_k_repeat=True,
        feat_sizes=(3, 3),
        **more,
    )


def _layer(**more: Any) -> dict[str, Any]:
    return {"d_model": 16, "dim_feedforward": 24, "self_attn": _own(), "cross_attn": _cross(), **more}


def _memory(frames: int, pointers: int, batch: int = 2) -> dict[str, Spec]:
    return {
        "tgt": uniform(batch, 9, 16),
        "memory": uniform(batch, 9 * frames + pointers, 6),
        "pos": uniform(batch, 9 * frames + pointers, 6),
        "query_pos": uniform(batch, 9, 16),
    }


def _with_pointers(pointers: int) -> Any:
    def call(side: Side) -> Any:
        tgt, memory, pos, query_pos = side.inputs.values()
        return side.net(tgt, memory, pos=pos, query_pos=query_pos, num_k_exclude_rope=pointers)

    return call


_LAYER = (
    Case(
        block="MemoryAttentionLayer",
        name="defaults",
        why="the released layer: 256 wide, memory 64 wide, positions on the keys of cross-attention alone",
        inputs={
            "tgt": uniform(1, 16, 256),
            "memory": uniform(1, 36, 64),
            "pos": uniform(1, 36, 64),
            "query_pos": uniform(1, 16, 256),
        },
        call=_with_pointers(4),
    ),
    Case(
        block="MemoryAttentionLayer",
        name="defaults_in_training",
        why="by default the three parts drop a tenth of what they add, and attention weights are kept",
        inputs={
            "tgt": uniform(1, 16, 256),
            "memory": uniform(1, 16, 64),
            "pos": uniform(1, 16, 64),
            "query_pos": uniform(1, 16, 256),
        },
        call=_with_pointers(0),
        train=True,
        known={"meta": "the released layer drops attention weights too, where the page's default does not"},
    ),
    Case(
        block="MemoryAttentionLayer",
        name="memory_and_pointers",
        why="self-attention, then attention to two frames of memory and three pointers, then the perceptron",
        kwargs=_layer(),
        inputs=_memory(2, 3),
        call=_with_pointers(3),
    ),
    Case(
        block="MemoryAttentionLayer",
        name="positions_elsewhere",
        why="each of the three flags adds its positions: to self-attention, to the queries, not to the keys",
        kwargs=_layer(
            pos_enc_at_attn=True, pos_enc_at_cross_attn_keys=False, pos_enc_at_cross_attn_queries=True
        ),
        inputs=_memory(1, 0),
        call=_with_pointers(0),
    ),
    Case(
        block="MemoryAttentionLayer",
        name="plain_attention",
        why="attention without rotation serves as well, as long as no keys are excluded",
        kwargs=_layer(
            self_attn=make("Attention", embedding_dim=16, num_heads=2),
            cross_attn=make("Attention", embedding_dim=16, num_heads=4, kv_in_dim=6),
        ),
        inputs=_memory(1, 2),
        call=_with_pointers(0),
    ),
    Case(
        block="MemoryAttentionLayer",
        name="train_dropout",
        why="in training what each of the three parts adds is dropped in places, and the hidden layer too",
        kwargs=_layer(dropout=0.3),
        inputs=_memory(1, 2),
        call=_with_pointers(2),
        train=True,
    ),
    Case(
        block="MemoryAttentionLayer",
        name="train_attention_dropout",
        why="as released, attention weights are dropped as well, in the order of the calls",
        kwargs=_layer(dropout=0.1, self_attn=_own(dropout=0.2), cross_attn=_cross(dropout=0.2)),
        inputs=_memory(2, 1),
        call=_with_pointers(1),
        train=True,
    ),
    Case(
        block="MemoryAttentionLayer",
        name="gradients",
        why="the backward pass into features, memory and positions",
        kwargs=_layer(pos_enc_at_attn=True, pos_enc_at_cross_attn_queries=True),
        inputs=_memory(2, 0),
        call=gradients(),
    ),
)

CASES = _DOWN_SAMPLER + _CX_BLOCK + _FUSER + _LAYER
