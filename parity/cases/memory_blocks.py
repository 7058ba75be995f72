"""Cases of the blocks of SAM 2's memory: MaskDownSampler, CXBlock, Fuser, MemoryAttentionLayer."""

from typing import Any

from parity.cases.calls import some_items_pass_through, with_input
from parity.cases.family import family, row
from parity.cases.imitations import arguments
from parity.execution.case import Known, Side, Spec, Torch, make, uniform
from parity.execution.training import gradients

_RELEASED = {"kernel_size": 3, "stride": 2, "padding": 1, "total_stride": 16}

_DOWN_SAMPLER = family(block="MaskDownSampler").of(
    defaults=row(
        "two steps of stride 4 without overlap, to 256 channels", inputs={"x": uniform(1, 1, 32, 48)}
    ),
    released=row(
        "the released settings: four steps of stride 2, kernel 3, channels times four in each",
        {"embed_dim": 24, **_RELEASED},
        {"x": uniform(2, 1, 32, 48)},
    ),
    odd_size=row(
        "odd sides are rounded up by the padding in every step",
        {"embed_dim": 8, **_RELEASED},
        {"x": uniform(1, 1, 35, 21)},
    ),
    one_step_relu=row(
        "a single step and another activation, which sees the normed map",
        {"embed_dim": 6, "kernel_size": 2, "stride": 2, "total_stride": 2, "activation": Torch("ReLU")},
        {"x": uniform(2, 1, 10, 6)},
    ),
    no_step=row(
        "a total stride of 1 leaves the 1 x 1 convolution alone",
        {"embed_dim": 5, "stride": 2, "total_stride": 1},
        {"x": uniform(2, 1, 4, 3)},
    ),
    resized_down=row(
        "a mask of another size is resized first, with smoothing where it shrinks",
        {"embed_dim": 8, **_RELEASED, "interpol_size": (32, 16)},
        {"x": uniform(2, 1, 50, 40)},
    ),
    resized_up=row(
        "a smaller mask is resized bilinearly, without aligned corners",
        {"embed_dim": 8, "total_stride": 16, "interpol_size": [32, 32]},
        {"x": uniform(1, 1, 20, 27)},
    ),
    resized_to_itself=row(
        "a mask that has the wanted size already is taken as it is",
        {"embed_dim": 8, **_RELEASED, "interpol_size": (16, 32)},
        {"x": uniform(1, 1, 16, 32)},
    ),
    gradients=row(
        "the backward pass through strided convolutions and norms over channels",
        {"embed_dim": 12, "kernel_size": 3, "stride": 2, "padding": 1, "total_stride": 4},
        {"x": uniform(2, 1, 19, 24)},
        call=gradients(),
    ),
)

_CX_BLOCK = family(block="CXBlock").of(
    defaults=row(
        "a 7 x 7 convolution of each channel alone, the norm, two linears with GELU, the layer scale",
        {"dim": 12},
        {"x": uniform(2, 12, 9, 6)},
    ),
    full_convolution=row(
        "use_dwconv=False mixes the channels in the first convolution",
        {"dim": 6, "kernel_size": 3, "padding": 1, "use_dwconv": False},
        {"x": uniform(2, 6, 5, 4)},
    ),
    no_layer_scale=row(
        "an initial layer scale of 0 means that there is none, not even in the state dict",
        {"dim": 8, "kernel_size": 5, "padding": 2, "layer_scale_init_value": 0.0},
        {"x": uniform(1, 8, 4, 7)},
    ),
    smaller_than_kernel=row(
        "a map smaller than the kernel is padding for the most part",
        {"dim": 4, "layer_scale_init_value": 0.5},
        {"x": uniform(3, 4, 2, 1)},
    ),
    train_drop_path=row(
        "in training the branch is dropped for some items",
        {"dim": 4, "kernel_size": 3, "padding": 1, "drop_path": 0.5},
        {"x": uniform(12, 4, 3, 3)},
        call=with_input,
        train=True,
        check=some_items_pass_through,
    ),
    gradients=row(
        "the backward pass, into the layer scale too",
        {"dim": 12, "kernel_size": 3, "padding": 1},
        {"x": uniform(2, 12, 7, 5)},
        call=gradients(),
    ),
)

_SMALL = make("CXBlock", dim=8, kernel_size=3, padding=1)

_FUSER = family(block="Fuser", kwargs={"layer": _SMALL}).of(
    two_layers=row(
        "the layers are copies with weights of their own, one after the other",
        {"num_layers": 2},
        {"x": uniform(2, 8, 5, 4)},
    ),
    projection=row(
        "a 1 x 1 convolution comes before the layers where it is asked for",
        {"num_layers": 1, "dim": 8, "input_projection": True},
        {"x": uniform(1, 8, 3, 6)},
    ),
    width_without_projection=row(
        "a width alone makes no projection",
        {"layer": make("CXBlock", dim=8, kernel_size=1, padding=0), "num_layers": 3, "dim": 8},
        {"x": uniform(1, 8, 4, 4)},
    ),
    no_layers=row(
        "without layers the projection is all there is",
        {"num_layers": 0, "dim": 8, "input_projection": True},
        {"x": uniform(2, 8, 2, 3)},
    ),
    gradients=row(
        "the backward pass through the projection and two layers",
        {"num_layers": 2, "dim": 8, "input_projection": True},
        {"x": uniform(2, 8, 5, 6)},
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


def with_pointers(pointers: int) -> Any:
    """Call a layer of memory attention whose last keys are pointers."""

    def call(side: Side) -> Any:
        tgt, memory, pos, query_pos = side.inputs.values()
        return side.net(tgt, memory, pos=pos, query_pos=query_pos, num_k_exclude_rope=pointers)

    return call


def _released(**more: Any) -> Any:
    return make("RoPEAttention", embedding_dim=256, num_heads=1, dropout=0.1, **more)


_LAYER = family(block="MemoryAttentionLayer").of(
    defaults=row(
        "the released layer: 256 wide, memory 64 wide, positions on the keys of cross-attention alone",
        inputs={
            "tgt": uniform(1, 16, 256),
            "memory": uniform(1, 36, 64),
            "pos": uniform(1, 36, 64),
            "query_pos": uniform(1, 16, 256),
        },
        call=with_pointers(4),
    ),
    defaults_in_training=row(
        "by default the three parts drop a tenth of what they add, and attention weights are kept",
        inputs={
            "tgt": uniform(1, 16, 256),
            "memory": uniform(1, 16, 64),
            "pos": uniform(1, 16, 64),
            "query_pos": uniform(1, 16, 256),
        },
        call=with_pointers(0),
        train=True,
        known={
            "meta": Known(
                cause="the released layer drops attention weights too; the reference page's default does not",
                imitation=arguments(
                    self_attn=_released(), cross_attn=_released(rope_k_repeat=True, kv_in_dim=64)
                ),
                shown="our layer given attention that drops a tenth of them",
            )
        },
    ),
    memory_and_pointers=row(
        "self-attention, then attention to two frames of memory and three pointers, then the perceptron",
        _layer(),
        _memory(2, 3),
        call=with_pointers(3),
    ),
    positions_elsewhere=row(
        "each of the three flags adds its positions: to self-attention, to the queries, not to the keys",
        _layer(pos_enc_at_attn=True, pos_enc_at_cross_attn_keys=False, pos_enc_at_cross_attn_queries=True),
        _memory(1, 0),
        call=with_pointers(0),
    ),
    plain_attention=row(
        "attention without rotation serves as well, as long as no keys are excluded",
        _layer(
            self_attn=make("Attention", embedding_dim=16, num_heads=2),
            cross_attn=make("Attention", embedding_dim=16, num_heads=4, kv_in_dim=6),
        ),
        _memory(1, 2),
        call=with_pointers(0),
    ),
    train_dropout=row(
        "in training what each of the three parts adds is dropped in places, and the hidden layer too",
        _layer(dropout=0.3),
        _memory(1, 2),
        call=with_pointers(2),
        train=True,
    ),
    train_attention_dropout=row(
        "as released, attention weights are dropped as well, in the order of the calls",
        _layer(dropout=0.1, self_attn=_own(dropout=0.2), cross_attn=_cross(dropout=0.2)),
        _memory(2, 1),
        call=with_pointers(1),
        train=True,
    ),
    gradients=row(
        "the backward pass into features, memory and positions",
        _layer(pos_enc_at_attn=True, pos_enc_at_cross_attn_queries=True),
        _memory(2, 0),
        call=gradients(),
    ),
)

CASES = _DOWN_SAMPLER + _CX_BLOCK + _FUSER + _LAYER
