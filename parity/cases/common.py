"""Cases of what all others rest on: DropPath, LayerNorm2d, MLP, MLPBlock, PatchEmbed."""

from typing import Any

from parity.cases.calls import drops_and_keeps, gradients, with_input
from parity.execution.case import Case, Side, Torch, TorchModule, uniform


def _identity(side: Side) -> Any:
    x = side.inputs["x"]
    y = side.net(x)
    return {"out": y, "same_object": y is x}


def _two_draws(side: Side) -> Any:
    return [side.net(side.inputs["x"]), side.net(side.inputs["x"])]


_DROP_PATH = (
    Case(
        block="DropPath",
        name="eval",
        why="outside training the very tensor that came in goes out",
        kwargs={"drop_prob": 0.4},
        inputs={"x": uniform(4, 3, 2)},
        call=_identity,
        exact=True,
    ),
    Case(
        block="DropPath",
        name="train",
        why="in training one draw per item decides, and what is kept is divided by the keep probability",
        kwargs={"drop_prob": 0.4},
        inputs={"x": uniform(16, 3, 5)},
        call=with_input,
        train=True,
        check=drops_and_keeps(1 / 0.6),
    ),
    Case(
        block="DropPath",
        name="train_unscaled",
        why="scale_by_keep=False leaves kept items as they are",
        kwargs={"drop_prob": 0.4, "scale_by_keep": False},
        inputs={"x": uniform(16, 2, 3, 4)},
        call=with_input,
        train=True,
        exact=True,
        check=drops_and_keeps(1.0),
    ),
    Case(
        block="DropPath",
        name="train_rate_zero",
        why="at rate 0 training changes nothing and copies nothing",
        inputs={"x": uniform(4, 3)},
        call=_identity,
        train=True,
        exact=True,
    ),
    Case(
        block="DropPath",
        name="train_rate_one",
        why="at rate 1 everything becomes zero, with no division by zero",
        kwargs={"drop_prob": 1.0},
        inputs={"x": uniform(4, 3, 2)},
        train=True,
        exact=True,
    ),
    Case(
        block="DropPath",
        name="train_two_draws",
        why="each call draws anew from the global generator, one number per item",
        kwargs={"drop_prob": 0.5, "scale_by_keep": True},
        inputs={"x": uniform(12, 4)},
        call=_two_draws,
        train=True,
    ),
)

_LAYER_NORM_2D = (
    Case(
        block="LayerNorm2d",
        name="map",
        why="each pixel is normalized over its channels, with the biased variance",
        kwargs={"num_channels": 24},
        inputs={"x": uniform(2, 24, 5, 7)},
    ),
    Case(
        block="LayerNorm2d",
        name="eps",
        why="a large eps weighs in: it is added to the variance, inside the root",
        kwargs={"num_channels": 8, "eps": 0.5},
        inputs={"x": uniform(1, 8, 4, 3)},
    ),
    Case(
        block="LayerNorm2d",
        name="small_variance",
        why="where the variance is as small as the default eps, that eps decides the result",
        kwargs={"num_channels": 16},
        inputs={"x": uniform(2, 16, 3, 4, low=-2e-3, high=2e-3)},
    ),
    Case(
        block="LayerNorm2d",
        name="one_channel",
        why="a single channel has no variance: the bias alone is left",
        kwargs={"num_channels": 1},
        inputs={"x": uniform(2, 1, 3, 3)},
    ),
    Case(
        block="LayerNorm2d",
        name="gradients",
        why="the backward pass of the norm over channels",
        kwargs={"num_channels": 12},
        inputs={"x": uniform(2, 12, 4, 5)},
        call=gradients(),
    ),
)

_MLP = (
    Case(
        block="MLPBlock",
        name="gelu",
        why="the default activation is the exact (erf) GELU, not its tanh approximation",
        kwargs={"embedding_dim": 12, "mlp_dim": 20},
        inputs={"x": uniform(2, 5, 12)},
    ),
    Case(
        block="MLPBlock",
        name="relu",
        why="another activation class is instantiated and used",
        kwargs={"embedding_dim": 12, "mlp_dim": 7, "act": Torch("ReLU")},
        inputs={"x": uniform(2, 3, 3, 12)},
    ),
    Case(
        block="MLPBlock",
        name="gradients",
        why="the backward pass of two linears around a GELU",
        kwargs={"embedding_dim": 8, "mlp_dim": 16},
        inputs={"x": uniform(3, 8)},
        call=gradients(),
    ),
    Case(
        block="MLP",
        name="three_layers",
        why="ReLU after every layer but the last",
        kwargs={"input_dim": 10, "hidden_dim": 14, "output_dim": 6, "num_layers": 3},
        inputs={"x": uniform(2, 5, 10)},
    ),
    Case(
        block="MLP",
        name="one_layer",
        why="a single layer goes straight from input to output, hidden_dim unused",
        kwargs={"input_dim": 10, "hidden_dim": 99, "output_dim": 6, "num_layers": 1},
        inputs={"x": uniform(4, 10)},
    ),
    Case(
        block="MLP",
        name="sigmoid_gelu",
        why="sigmoid on the output, another activation inside",
        kwargs={
            "input_dim": 8,
            "hidden_dim": 12,
            "output_dim": 4,
            "num_layers": 2,
            "act": Torch("GELU"),
            "sigmoid": True,
        },
        inputs={"x": uniform(2, 3, 8)},
    ),
    Case(
        block="MLP",
        name="residual_norm_sigmoid",
        why="first the input is added, then comes the norm, then the sigmoid",
        kwargs={
            "input_dim": 8,
            "hidden_dim": 12,
            "output_dim": 8,
            "num_layers": 2,
            "sigmoid": True,
            "residual": True,
            "out_norm": TorchModule("LayerNorm", {"normalized_shape": 8}),
        },
        inputs={"x": uniform(2, 3, 8)},
    ),
    Case(
        block="MLP",
        name="gradients",
        why="the backward pass of a perceptron with ReLU",
        kwargs={"input_dim": 8, "hidden_dim": 12, "output_dim": 4, "num_layers": 3},
        inputs={"x": uniform(6, 8)},
        call=gradients(),
    ),
)

_PATCH_EMBED = (
    Case(
        block="PatchEmbed",
        name="defaults",
        why="16 x 16 patches side by side, three channels in, 768 out, and the channels go last",
        inputs={"x": uniform(1, 3, 32, 48)},
        known=dict.fromkeys(
            ("meta", "timm"), "this PatchEmbed is Hiera's: kernel 7, stride 4, padding 3 are its defaults"
        ),
    ),
    Case(
        block="PatchEmbed",
        name="sam",
        why="SAM's patches: no overlap, no padding, another width than the default",
        kwargs={"kernel_size": (16, 16), "stride": (16, 16), "padding": (0, 0), "embed_dim": 24},
        inputs={"x": uniform(2, 3, 48, 32)},
    ),
    Case(
        block="PatchEmbed",
        name="hiera",
        why="Hiera's patches overlap: kernel 7, stride 4, padding 3",
        kwargs={"kernel_size": (7, 7), "stride": (4, 4), "padding": (3, 3), "in_chans": 3, "embed_dim": 16},
        inputs={"x": uniform(2, 3, 24, 36)},
    ),
    Case(
        block="PatchEmbed",
        name="odd_size_one_channel",
        why="rows and columns that fill no patch are left out, heights and widths are kept apart",
        kwargs={"kernel_size": (4, 6), "stride": (4, 5), "padding": (1, 2), "in_chans": 1, "embed_dim": 8},
        inputs={"x": uniform(1, 1, 21, 27)},
    ),
    Case(
        block="PatchEmbed",
        name="no_bias",
        why="bias=False leaves the convolution without one",
        kwargs={"kernel_size": (4, 4), "stride": (4, 4), "padding": (0, 0), "embed_dim": 8, "bias": False},
        inputs={"x": uniform(2, 3, 8, 12)},
    ),
    Case(
        block="PatchEmbed",
        name="gradients",
        why="the backward pass of overlapping patches",
        kwargs={"kernel_size": (7, 7), "stride": (4, 4), "padding": (3, 3), "embed_dim": 6},
        inputs={"x": uniform(1, 3, 12, 16)},
        call=gradients(),
    ),
)

CASES = _DROP_PATH + _LAYER_NORM_2D + _MLP + _PATCH_EMBED
