"""Cases of the blocks of SAM 2's image encoder: do_pool, MultiScaleAttention, MultiScaleBlock."""

from functools import partial
from typing import Any

from torch import nn
from torch.nn import functional

from parity.cases.calls import attention_chooses, function, some_items_pass_through, with_input
from parity.cases.family import family, row
from parity.execution.case import Side, Torch, TorchModule, uniform
from parity.execution.training import gradients


def _no_pool(side: Side) -> Any:
    x = side.inputs["x"]
    y = side.library.function("do_pool")(x, None, nn.LayerNorm(3))
    return {"out": y, "same_object": y is x}


def _pool_then_norm(side: Side) -> Any:
    x, weight, bias = side.inputs.values()
    norm = partial(functional.layer_norm, normalized_shape=(6,), weight=weight, bias=bias)
    return side.library.function("do_pool")(x, nn.AvgPool2d(3, 2), norm)


_POOL = TorchModule("MaxPool2d", {"kernel_size": 2, "stride": 2})
_MEANS = TorchModule("AvgPool2d", {"kernel_size": (2, 3), "stride": (2, 1)})

_DO_POOL = family(block="do_pool", exact=True).of(
    max_2x2=row(
        "pooling works on BHWC by way of BCHW, and drops an odd last row and column",
        inputs={"x": uniform(2, 7, 6, 5)},
        call=function("do_pool", nn.MaxPool2d(2, 2)),
    ),
    no_pool=row(
        "without a pool the very input comes back, and the norm is not applied",
        inputs={"x": uniform(1, 4, 4, 3)},
        call=_no_pool,
    ),
    average_then_norm=row(
        "the norm comes after the pool and works on the last axis",
        inputs={"x": uniform(2, 9, 8, 6), "weight": uniform(6), "bias": uniform(6)},
        exact=False,
        call=_pool_then_norm,
    ),
    non_square_pool=row(
        "a pool of different height and width keeps the two axes apart",
        inputs={"x": uniform(1, 6, 9, 4)},
        call=function("do_pool", nn.MaxPool2d((2, 3), (1, 3)), None),
    ),
)

_ATTENTION = family(block="MultiScaleAttention").of(
    same_width=row(
        "queries, keys and values come from one linear, each cut into heads",
        {"dim": 16, "dim_out": 16, "num_heads": 2},
        {"x": uniform(2, 5, 6, 16)},
        check=attention_chooses(),
    ),
    wider=row(
        "the width changes in the first linear; each head has dim_out / num_heads channels",
        {"dim": 12, "dim_out": 24, "num_heads": 3},
        {"x": uniform(1, 4, 7, 12)},
        check=attention_chooses(),
    ),
    query_pool=row(
        "queries alone are pooled, with the heads side by side: the map shrinks, the keys do not",
        {"dim": 12, "dim_out": 24, "num_heads": 2, "q_pool": _POOL},
        {"x": uniform(2, 8, 6, 12)},
        check=attention_chooses(least=0.1),
    ),
    query_pool_odd=row(
        "an odd last row and column have keys but no query of their own",
        {"dim": 8, "dim_out": 16, "num_heads": 1, "q_pool": _POOL},
        {"x": uniform(2, 7, 5, 8)},
    ),
    query_pool_of_another_kind=row(
        "the pool is the module that is given: means here, of other steps down than across",
        {"dim": 8, "dim_out": 16, "num_heads": 2, "q_pool": _MEANS},
        {"x": uniform(2, 6, 5, 8)},
        check=attention_chooses(),
    ),
    one_token=row(
        "a single token attends to itself",
        {"dim": 8, "dim_out": 8, "num_heads": 4},
        {"x": uniform(3, 1, 1, 8)},
    ),
    gradients=row(
        "the backward pass through pooled queries",
        {"dim": 8, "dim_out": 16, "num_heads": 2, "q_pool": _POOL},
        {"x": uniform(1, 6, 4, 8)},
        call=gradients(),
    ),
)

_BLOCK = family(block="MultiScaleBlock", kwargs={"num_heads": 2}).of(
    **{
        "global": row(
            "without windows the whole map attends to itself, beside it the raw input as shortcut",
            {"dim": 16, "dim_out": 16},
            {"x": uniform(2, 5, 7, 16)},
        )
    },
    window_fits=row(
        "windows that tile the map attend each on its own",
        {"dim": 16, "dim_out": 16, "window_size": 4},
        {"x": uniform(2, 8, 12, 16)},
    ),
    window_pads=row(
        "a window that does not divide the map is padded with zeros after norm1, and the padding takes part",
        {"dim": 24, "dim_out": 24, "window_size": 8},
        {"x": uniform(2, 13, 10, 24)},
    ),
    window_larger_than_map=row(
        "a window larger than the map is padding for the most part",
        {"dim": 8, "dim_out": 8, "num_heads": 1, "window_size": 7},
        {"x": uniform(1, 3, 2, 8)},
    ),
    wider_without_pool=row(
        "where the width alone changes the shortcut is the projection of the normed input",
        {"dim": 12, "dim_out": 24, "num_heads": 3, "window_size": 4},
        {"x": uniform(1, 8, 5, 12)},
    ),
    pool_projects_normed_input=row(
        "where the width changes too the projection of the normed input is pooled",
        {"dim": 16, "dim_out": 32, "q_stride": (2, 2), "window_size": 8},
        {"x": uniform(2, 16, 24, 16)},
    ),
    pool_and_padding=row(
        "windows are padded before the pool, and the padding of the pooled map is counted anew",
        {"dim": 8, "dim_out": 16, "q_stride": (2, 2), "window_size": 8},
        {"x": uniform(1, 13, 14, 8)},
    ),
    several_windows=row(
        "five windows of a stage from top to bottom, of which the last is half padding",
        {"dim": 8, "dim_out": 8, "window_size": 4},
        {"x": uniform(1, 18, 10, 8)},
    ),
    pool_several_windows=row(
        "the same with pooled queries",
        {"dim": 8, "dim_out": 16, "q_stride": (2, 2), "window_size": 4},
        {"x": uniform(1, 18, 6, 8)},
    ),
    pool_window_4=row(
        "windows of 4 become windows of 2, on a map with an odd side",
        {"dim": 8, "dim_out": 16, "num_heads": 1, "q_stride": (2, 2), "window_size": 4},
        {"x": uniform(2, 15, 14, 8)},
    ),
    norm_class=row(
        "a norm given as a class is used with its own eps, not with 1e-6",
        {"dim": 12, "dim_out": 12, "norm_layer": Torch("LayerNorm", {"eps": 0.3}), "window_size": 4},
        {"x": uniform(1, 4, 4, 12)},
    ),
    norm_name_eps=row(
        "a norm given by name has eps 1e-6, which weighs in where the input hardly varies",
        {"dim": 12, "dim_out": 12, "norm_layer": "LayerNorm"},
        {"x": uniform(1, 4, 4, 12, low=-2e-3, high=2e-3)},
    ),
    mlp_ratio_relu=row(
        "the hidden width is rounded down from dim_out times the ratio; the activation is the one given",
        {"dim": 10, "dim_out": 15, "num_heads": 5, "mlp_ratio": 1.7, "act_layer": Torch("ReLU")},
        {"x": uniform(2, 3, 5, 10)},
    ),
    train_drop_path=row(
        "drop path takes one draw per item for attention and another for the perceptron",
        {"dim": 8, "dim_out": 8, "drop_path": 0.6, "window_size": 2},
        {"x": uniform(24, 2, 4, 8)},
        call=with_input,
        train=True,
        check=some_items_pass_through,
    ),
    gradients=row(
        "the backward pass through windows with padding, pooled queries and the pooled shortcut",
        {"dim": 8, "dim_out": 16, "q_stride": (2, 2), "window_size": 4},
        {"x": uniform(1, 7, 8, 8)},
        call=gradients(),
    ),
)

CASES = _DO_POOL + _ATTENTION + _BLOCK
