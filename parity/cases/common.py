"""Cases of what all others rest on: DropPath, LayerNorm2d, MLP, MLPBlock, PatchEmbed."""

from typing import Any

from parity.cases.calls import drops_and_keeps, with_input
from parity.cases.family import family, row
from parity.cases.imitations import arguments
from parity.execution.case import Known, Side, Torch, TorchModule, uniform
from parity.execution.training import gradients


def _identity(side: Side) -> Any:
    x = side.inputs["x"]
    y = side.net(x)
    return {"out": y, "same_object": y is x}


def _two_draws(side: Side) -> Any:
    return [side.net(side.inputs["x"]), side.net(side.inputs["x"])]


_DROP_PATH = family(block="DropPath", exact=True, train=True).of(
    eval=row(
        "outside training the very tensor that came in goes out",
        {"drop_prob": 0.4},
        {"x": uniform(4, 3, 2)},
        train=False,
        call=_identity,
    ),
    train=row(
        "in training one draw per item decides, and what is kept is divided by the keep probability",
        {"drop_prob": 0.4},
        {"x": uniform(16, 3, 5)},
        exact=False,
        call=with_input,
        check=drops_and_keeps(1 / 0.6),
    ),
    train_unscaled=row(
        "scale_by_keep=False leaves kept items as they are",
        {"drop_prob": 0.4, "scale_by_keep": False},
        {"x": uniform(16, 2, 3, 4)},
        call=with_input,
        check=drops_and_keeps(1.0),
    ),
    train_rate_zero=row(
        "at rate 0 training changes nothing and copies nothing", inputs={"x": uniform(4, 3)}, call=_identity
    ),
    train_rate_one=row(
        "at rate 1 everything becomes zero, with no division by zero",
        {"drop_prob": 1.0},
        {"x": uniform(4, 3, 2)},
    ),
    train_two_draws=row(
        "each call draws anew from the global generator, one number per item",
        {"drop_prob": 0.5, "scale_by_keep": True},
        {"x": uniform(12, 4)},
        exact=False,
        call=_two_draws,
    ),
)

_LAYER_NORM_2D = family(block="LayerNorm2d").of(
    map=row(
        "each pixel is normalized over its channels, with the biased variance",
        {"num_channels": 24},
        {"x": uniform(2, 24, 5, 7)},
    ),
    eps=row(
        "a large eps weighs in: it is added to the variance, inside the root",
        {"num_channels": 8, "eps": 0.5},
        {"x": uniform(1, 8, 4, 3)},
    ),
    small_variance=row(
        "where the variance is as small as the default eps, that eps decides the result",
        {"num_channels": 16},
        {"x": uniform(2, 16, 3, 4, low=-2e-3, high=2e-3)},
    ),
    one_channel=row(
        "a single channel has no variance: the bias alone is left",
        {"num_channels": 1},
        {"x": uniform(2, 1, 3, 3)},
    ),
    gradients=row(
        "the backward pass of the norm over channels",
        {"num_channels": 12},
        {"x": uniform(2, 12, 4, 5)},
        call=gradients(),
    ),
)

_MLP = (
    *family(block="MLPBlock").of(
        gelu=row(
            "the default activation is the exact (erf) GELU, not its tanh approximation",
            {"embedding_dim": 12, "mlp_dim": 20},
            {"x": uniform(2, 5, 12)},
        ),
        relu=row(
            "another activation class is instantiated and used",
            {"embedding_dim": 12, "mlp_dim": 7, "act": Torch("ReLU")},
            {"x": uniform(2, 3, 3, 12)},
        ),
        gradients=row(
            "the backward pass of two linears around a GELU",
            {"embedding_dim": 8, "mlp_dim": 16},
            {"x": uniform(3, 8)},
            call=gradients(),
        ),
    ),
    *family(block="MLP", kwargs={"input_dim": 8, "hidden_dim": 12}).of(
        three_layers=row(
            "ReLU after every layer but the last",
            {"input_dim": 10, "hidden_dim": 14, "output_dim": 6, "num_layers": 3},
            {"x": uniform(2, 5, 10)},
        ),
        one_layer=row(
            "a single layer goes straight from input to output, hidden_dim unused",
            {"input_dim": 10, "hidden_dim": 99, "output_dim": 6, "num_layers": 1},
            {"x": uniform(4, 10)},
        ),
        sigmoid_gelu=row(
            "sigmoid on the output, another activation inside",
            {"output_dim": 4, "num_layers": 2, "act": Torch("GELU"), "sigmoid": True},
            {"x": uniform(2, 3, 8)},
        ),
        residual_norm_sigmoid=row(
            "first the input is added, then comes the norm, then the sigmoid",
            {
                "output_dim": 8,
                "num_layers": 2,
                "sigmoid": True,
                "residual": True,
                "out_norm": TorchModule("LayerNorm", {"normalized_shape": 8}),
            },
            {"x": uniform(2, 3, 8)},
        ),
        gradients=row(
            "the backward pass of a perceptron with ReLU",
            {"output_dim": 4, "num_layers": 3},
            {"x": uniform(6, 8)},
            call=gradients(),
        ),
    ),
)

_OF_HIERA = Known(
    cause="this PatchEmbed is Hiera's: kernel 7, stride 4, padding 3 are its defaults",
    imitation=arguments(kernel_size=(7, 7), stride=(4, 4), padding=(3, 3)),
    shown="ours given these",
)

_PATCH_EMBED = family(block="PatchEmbed").of(
    defaults=row(
        "16 x 16 patches side by side, three channels in, 768 out, and the channels go last",
        inputs={"x": uniform(1, 3, 32, 48)},
        known=dict.fromkeys(("meta", "timm"), _OF_HIERA),
    ),
    sam=row(
        "SAM's patches: no overlap, no padding, another width than the default",
        {"kernel_size": (16, 16), "stride": (16, 16), "padding": (0, 0), "embed_dim": 24},
        {"x": uniform(2, 3, 48, 32)},
    ),
    hiera=row(
        "Hiera's patches overlap: kernel 7, stride 4, padding 3",
        {"kernel_size": (7, 7), "stride": (4, 4), "padding": (3, 3), "in_chans": 3, "embed_dim": 16},
        {"x": uniform(2, 3, 24, 36)},
    ),
    odd_size_one_channel=row(
        "rows and columns that fill no patch are left out, heights and widths are kept apart",
        {"kernel_size": (4, 6), "stride": (4, 5), "padding": (1, 2), "in_chans": 1, "embed_dim": 8},
        {"x": uniform(1, 1, 21, 27)},
    ),
    no_bias=row(
        "bias=False leaves the convolution without one",
        {"kernel_size": (4, 4), "stride": (4, 4), "padding": (0, 0), "embed_dim": 8, "bias": False},
        {"x": uniform(2, 3, 8, 12)},
    ),
    gradients=row(
        "the backward pass of overlapping patches",
        {"kernel_size": (7, 7), "stride": (4, 4), "padding": (3, 3), "embed_dim": 6},
        {"x": uniform(1, 3, 12, 16)},
        call=gradients(),
    ),
)

CASES = _DROP_PATH + _LAYER_NORM_2D + _MLP + _PATCH_EMBED
