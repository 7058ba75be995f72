"""Cases of the blocks of SAM 2's image encoder: do_pool, MultiScaleAttention, MultiScaleBlock."""

from functools import partial
from typing import Any

from torch import nn
from torch.nn import functional

from parity.cases.calls import (
    attention_chooses,
    function,
    gradients,
    some_items_pass_through,
    with_input,
)
from parity.execution.case import Case, Side, Torch, TorchModule, uniform


def _no_pool(side: Side) -> Any:
    x = side.inputs["x"]
    y = side.library.function("do_pool")(x, None, nn.LayerNorm(3))
    return {"out": y, "same_object": y is x}


def _pool_then_norm(side: Side) -> Any:
    x, weight, bias = side.inputs.values()
    norm = partial(functional.layer_norm, normalized_shape=(6,), weight=weight, bias=bias)
    return side.library.function("do_pool")(x, nn.AvgPool2d(3, 2), norm)


_POOL = TorchModule("MaxPool2d", {"kernel_size": 2, "stride": 2})

_DO_POOL = (
    Case(
        block="do_pool",
        name="max_2x2",
        why="pooling works on BHWC by way of BCHW, and drops an odd last row and column",
        inputs={"x": uniform(2, 7, 6, 5)},
        call=function("do_pool", nn.MaxPool2d(2, 2)),
        exact=True,
    ),
    Case(
        block="do_pool",
        name="no_pool",
        why="without a pool the very input comes back, and the norm is not applied",
        inputs={"x": uniform(1, 4, 4, 3)},
        call=_no_pool,
        exact=True,
    ),
    Case(
        block="do_pool",
        name="average_then_norm",
        why="the norm comes after the pool and works on the last axis",
        inputs={"x": uniform(2, 9, 8, 6), "weight": uniform(6), "bias": uniform(6)},
        call=_pool_then_norm,
    ),
    Case(
        block="do_pool",
        name="non_square_pool",
        why="a pool of different height and width keeps the two axes apart",
        inputs={"x": uniform(1, 6, 9, 4)},
        call=function("do_pool", nn.MaxPool2d((2, 3), (1, 3)), None),
        exact=True,
    ),
)

_ATTENTION = (
    Case(
        block="MultiScaleAttention",
        name="same_width",
        why="queries, keys and values come from one linear, each cut into heads",
        kwargs={"dim": 16, "dim_out": 16, "num_heads": 2},
        inputs={"x": uniform(2, 5, 6, 16)},
        check=attention_chooses(),
    ),
    Case(
        block="MultiScaleAttention",
        name="wider",
        why="the width changes in the first linear; each head has dim_out / num_heads channels",
        kwargs={"dim": 12, "dim_out": 24, "num_heads": 3},
        inputs={"x": uniform(1, 4, 7, 12)},
        check=attention_chooses(),
    ),
    Case(
        block="MultiScaleAttention",
        name="query_pool",
        why="queries alone are pooled, with the heads side by side: the map shrinks, the keys do not",
        kwargs={"dim": 12, "dim_out": 24, "num_heads": 2, "q_pool": _POOL},
        inputs={"x": uniform(2, 8, 6, 12)},
        check=attention_chooses(least=0.1),
    ),
    Case(
        block="MultiScaleAttention",
        name="query_pool_odd",
        why="an odd last row and column have keys but no query of their own",
        kwargs={"dim": 8, "dim_out": 16, "num_heads": 1, "q_pool": _POOL},
        inputs={"x": uniform(2, 7, 5, 8)},
    ),
    Case(
        block="MultiScaleAttention",
        name="one_token",
        why="a single token attends to itself",
        kwargs={"dim": 8, "dim_out": 8, "num_heads": 4},
        inputs={"x": uniform(3, 1, 1, 8)},
    ),
    Case(
        block="MultiScaleAttention",
        name="gradients",
        why="the backward pass through pooled queries",
        kwargs={"dim": 8, "dim_out": 16, "num_heads": 2, "q_pool": _POOL},
        inputs={"x": uniform(1, 6, 4, 8)},
        call=gradients(),
    ),
)

_BLOCK = (
    Case(
        block="MultiScaleBlock",
        name="global",
        why="without windows the whole map attends to itself, beside it the raw input as shortcut",
        kwargs={"dim": 16, "dim_out": 16, "num_heads": 2},
        inputs={"x": uniform(2, 5, 7, 16)},
    ),
    Case(
        block="MultiScaleBlock",
        name="window_fits",
        why="windows that tile the map attend each on its own",
        kwargs={"dim": 16, "dim_out": 16, "num_heads": 2, "window_size": 4},
        inputs={"x": uniform(2, 8, 12, 16)},
    ),
    Case(
        block="MultiScaleBlock",
        name="window_pads",
        why="a window that does not divide the map is padded with zeros after norm1, and the padding takes part",
        kwargs={"dim": 24, "dim_out": 24, "num_heads": 2, "window_size": 8},
        inputs={"x": uniform(2, 13, 10, 24)},
    ),
    Case(
        block="MultiScaleBlock",
        name="window_larger_than_map",
        why="a window larger than the map is padding for the most part",
        kwargs={"dim": 8, "dim_out": 8, "num_heads": 1, "window_size": 7},
        inputs={"x": uniform(1, 3, 2, 8)},
    ),
    Case(
        block="MultiScaleBlock",
        name="wider_without_pool",
        why="where the width alone changes the shortcut is the projection of the normed input",
        kwargs={"dim": 12, "dim_out": 24, "num_heads": 3, "window_size": 4},
        inputs={"x": uniform(1, 8, 5, 12)},
    ),
    Case(
        block="MultiScaleBlock",
        name="pool_projects_normed_input",
        why="where the width changes too the projection of the normed input is pooled",
        kwargs={"dim": 16, "dim_out": 32, "num_heads": 2, "q_stride": (2, 2), "window_size": 8},
        inputs={"x": uniform(2, 16, 24, 16)},
    ),
    Case(
        block="MultiScaleBlock",
        name="pool_and_padding",
        why="windows are padded before the pool, and the padding of the pooled map is counted anew",
        kwargs={"dim": 8, "dim_out": 16, "num_heads": 2, "q_stride": (2, 2), "window_size": 8},
        inputs={"x": uniform(1, 13, 14, 8)},
    ),
    Case(
        block="MultiScaleBlock",
        name="pool_window_4",
        why="windows of 4 become windows of 2, on a map with an odd side",
        kwargs={"dim": 8, "dim_out": 16, "num_heads": 1, "q_stride": (2, 2), "window_size": 4},
        inputs={"x": uniform(2, 15, 14, 8)},
    ),
    Case(
        block="MultiScaleBlock",
        name="norm_class",
        why="a norm given as a class is used with its own eps, not with 1e-6",
        kwargs={
            "dim": 12,
            "dim_out": 12,
            "num_heads": 2,
            "norm_layer": Torch("LayerNorm", {"eps": 0.3}),
            "window_size": 4,
        },
        inputs={"x": uniform(1, 4, 4, 12)},
    ),
    Case(
        block="MultiScaleBlock",
        name="norm_name_eps",
        why="a norm given by name has eps 1e-6, which weighs in where the input hardly varies",
        kwargs={"dim": 12, "dim_out": 12, "num_heads": 2, "norm_layer": "LayerNorm"},
        inputs={"x": uniform(1, 4, 4, 12, low=-2e-3, high=2e-3)},
    ),
    Case(
        block="MultiScaleBlock",
        name="mlp_ratio_relu",
        why="the hidden width is rounded down from dim_out times the ratio; the activation is the one given",
        kwargs={
            "dim": 10,
            "dim_out": 15,
            "num_heads": 5,
            "mlp_ratio": 1.7,
            "act_layer": Torch("ReLU"),
        },
        inputs={"x": uniform(2, 3, 5, 10)},
    ),
    Case(
        block="MultiScaleBlock",
        name="train_drop_path",
        why="drop path takes one draw per item for attention and another for the perceptron",
        kwargs={"dim": 8, "dim_out": 8, "num_heads": 2, "drop_path": 0.6, "window_size": 2},
        inputs={"x": uniform(24, 2, 4, 8)},
        call=with_input,
        train=True,
        check=some_items_pass_through,
    ),
    Case(
        block="MultiScaleBlock",
        name="gradients",
        why="the backward pass through windows with padding, pooled queries and the pooled shortcut",
        kwargs={"dim": 8, "dim_out": 16, "num_heads": 2, "q_stride": (2, 2), "window_size": 4},
        inputs={"x": uniform(1, 7, 8, 8)},
        call=gradients(),
    ),
)

CASES = _DO_POOL + _ATTENTION + _BLOCK
