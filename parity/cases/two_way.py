"""Cases of attention and of the two-way transformers of both generations."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from parity.cases.calls import attention_chooses
from parity.cases.family import family, row
from parity.cases.imitations import during, norms_of_blocks
from parity.execution.case import Case, Known, Spec, Torch, uniform
from parity.execution.training import gradients


def _qkv(batch: int, queries: int, keys: int, width: int, key_width: int | None = None) -> dict[str, Spec]:
    key_width = key_width or width
    return {
        "q": uniform(batch, queries, width),
        "k": uniform(batch, keys, key_width),
        "v": uniform(batch, keys, key_width),
    }


def _tokens(batch: int, queries: int, keys: int, width: int) -> dict[str, Spec]:
    return {
        "queries": uniform(batch, queries, width),
        "keys": uniform(batch, keys, width),
        "query_pe": uniform(batch, queries, width),
        "key_pe": uniform(batch, keys, width),
    }


def _image(batch: int, width: int, height: int, columns: int, points: int) -> dict[str, Spec]:
    return {
        "image_embedding": uniform(batch, width, height, columns),
        "image_pe": uniform(batch, width, height, columns),
        "point_embedding": uniform(batch, points, width),
    }


def _quieten(weights: dict[str, Tensor]) -> None:
    """Make what all branches add small, so that what each of the four norms is given has little variance."""
    for name, value in weights.items():
        if any(part in name for part in ("out_proj", "lin2", "layers.1", "norm1", "norm2")):
            weights[name] = value * 3e-3


_KEY_BIAS = ("k_proj.bias",)
EPS_DIFFERS = {
    "transformers": Known(
        cause="its SAM 1 has eps 1e-6 in the norms of two-way blocks, where Meta's has 1e-5",
        imitation=during(norms_of_blocks(1e-6)),
        shown="our norms with that eps",
    )
}

_ATTENTION = family(block="Attention", kwargs={"num_heads": 2}).of(
    cross=row(
        "queries and keys of different number, cut into heads by adjacent channels",
        {"embedding_dim": 16, "num_heads": 4},
        _qkv(2, 5, 9, 16),
        check=attention_chooses(),
    ),
    downsampled=row(
        "inside the width is divided by the rate, and the scale follows the narrower heads",
        {"embedding_dim": 16, "downsample_rate": 2},
        _qkv(2, 6, 7, 16),
        check=attention_chooses(),
    ),
    other_key_width=row(
        "keys and values come in a width of their own",
        {"embedding_dim": 12, "num_heads": 1, "kv_in_dim": 5},
        _qkv(1, 6, 8, 12, 5),
        check=attention_chooses(),
    ),
    one_key=row("with a single key every query is given its value", {"embedding_dim": 8}, _qkv(3, 4, 1, 8)),
    peaked=row(
        "logits of dozens: softmax subtracts the largest and must not overflow",
        {"embedding_dim": 8},
        {
            "q": uniform(2, 6, 8, low=-12.0, high=12.0),
            "k": uniform(2, 9, 8, low=-12.0, high=12.0),
            "v": uniform(2, 9, 8),
        },
        check=attention_chooses(least=0.5),
    ),
    train_dropout=row(
        "in training attention weights are dropped, with the draws of the fused kernel",
        {"embedding_dim": 8, "dropout": 0.4},
        _qkv(2, 6, 7, 8),
        train=True,
    ),
    eval_dropout=row(
        "outside training dropout does nothing",
        {"embedding_dim": 8, "dropout": 0.4},
        _qkv(1, 6, 7, 8),
        check=attention_chooses(),
    ),
    gradients=row(
        "the backward pass into queries, keys and values of different number",
        {"embedding_dim": 32, "downsample_rate": 2},
        _qkv(2, 7, 11, 32),
        call=gradients(vanishing=_KEY_BIAS),
    ),
)

_BLOCK = family(block="TwoWayAttentionBlock", kwargs={"num_heads": 2}).of(
    tokens_and_image=row(
        "both directions: positions are added to queries and keys, never to values",
        {"embedding_dim": 16, "mlp_dim": 24},
        _tokens(2, 5, 12, 16),
    ),
    first_layer=row(
        "the first layer's self-attention leaves out positions and replaces the queries, without shortcut",
        {"embedding_dim": 16, "mlp_dim": 24, "skip_first_layer_pe": True},
        _tokens(2, 4, 9, 16),
    ),
    no_downsampling=row(
        "cross-attention at full width; self-attention has it always",
        {"embedding_dim": 12, "num_heads": 3, "mlp_dim": 8, "attention_downsample_rate": 1},
        _tokens(1, 6, 10, 12),
    ),
    gelu=row(
        "the activation of the perceptron is the one given",
        {"embedding_dim": 8, "num_heads": 1, "mlp_dim": 16, "activation": Torch("GELU")},
        _tokens(1, 3, 6, 8),
    ),
    one_token=row(
        "a single query, and the default hidden width of 2048", {"embedding_dim": 8}, _tokens(3, 1, 4, 8)
    ),
    norm_eps=row(
        "norms have eps 1e-5, which weighs in where queries and keys hardly vary",
        {"embedding_dim": 8, "mlp_dim": 8},
        _tokens(1, 3, 4, 8)
        | {name: uniform(1, n, 8, low=-5e-3, high=5e-3) for name, n in (("queries", 3), ("keys", 4))},
        adjust=_quieten,
    ),
    gradients=row(
        "the backward pass through both directions into all four inputs",
        {"embedding_dim": 32, "mlp_dim": 24},
        _tokens(2, 5, 9, 32),
        call=gradients(vanishing=_KEY_BIAS),
    ),
)

_TRANSFORMER = family(block="TwoWayTransformer", kwargs={"num_heads": 2}).of(
    two_layers=row(
        "the point embedding is the queries and their positions, and the last attention goes to the image",
        {"depth": 2, "embedding_dim": 16, "mlp_dim": 24},
        _image(2, 16, 3, 5, 6),
    ),
    no_layers=row(
        "without layers the last attention alone is left, and the image comes back as tokens",
        {"depth": 0, "embedding_dim": 8, "mlp_dim": 8},
        _image(1, 8, 4, 4, 3),
    ),
    one_layer_options=row(
        "activation and downsampling reach the layers and the last attention",
        {
            "depth": 1,
            "embedding_dim": 12,
            "num_heads": 3,
            "mlp_dim": 10,
            "activation": Torch("GELU"),
            "attention_downsample_rate": 1,
        },
        _image(1, 12, 2, 3, 5),
    ),
    one_token_four_times_downsampled=row(
        "a single point on a wide image, cross-attention at a quarter of the width",
        {"depth": 3, "embedding_dim": 16, "mlp_dim": 8, "attention_downsample_rate": 4},
        _image(2, 16, 1, 9, 1),
    ),
    gradients=row(
        "the backward pass through two layers into image, positions and points",
        {"depth": 2, "embedding_dim": 32, "mlp_dim": 24},
        _image(2, 32, 3, 4, 5),
        call=gradients(vanishing=_KEY_BIAS),
    ),
)


def _second_generation(cases: tuple[Case, ...], whys: Mapping[str, str]) -> tuple[Case, ...]:
    """The same cases for SAM 2's class, whose perceptron has other names, with sentences of their own."""
    return tuple(replace(case, block=f"SAM2{case.block}", why=whys[case.name]) for case in cases)


def _eps_known(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """The cases that have two-way blocks, with the library that differs there."""
    return tuple(replace(case, known=EPS_DIFFERS) if case.name != "no_layers" else case for case in cases)


CASES = (
    _ATTENTION
    + _eps_known(_BLOCK)
    + _eps_known(_TRANSFORMER)
    + _second_generation(
        _BLOCK,
        {
            "tokens_and_image": "SAM 2's block in both directions, its perceptron a two-layer MLP",
            "first_layer": "SAM 2's first layer replaces the queries by self-attention without positions",
            "no_downsampling": "SAM 2's cross-attention at full width",
            "gelu": "SAM 2's perceptron takes the activation that is given",
            "one_token": "SAM 2's block on one query, with the default hidden width of 2048",
            "norm_eps": "SAM 2's norms here have eps 1e-5 too, unlike its image encoder's",
            "gradients": "the backward pass of SAM 2's block into all four inputs",
        },
    )
    + _second_generation(
        _TRANSFORMER,
        {
            "two_layers": "SAM 2's transformer on a batch of maps that are not square",
            "no_layers": "SAM 2's transformer without layers: the last attention alone",
            "one_layer_options": "SAM 2's transformer hands on activation and downsampling",
            "one_token_four_times_downsampled": "SAM 2's transformer on one point, at a quarter of the width",
            "gradients": "the backward pass of SAM 2's transformer",
        },
    )
)
