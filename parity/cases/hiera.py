"""Cases of the SAM 2 image encoder's blocks: do_pool, MultiScaleAttention, MultiScaleBlock."""

from parity.case import Case, Side, Torch, uniform


def _pool_then_norm(side: Side) -> object:
    return side.library.function("do_pool")(side.inputs["x"], *_pool())


def _pool() -> tuple[object, ...]:
    from torch import nn

    return (nn.MaxPool2d(2, 2),)


CASES = (
    Case(
        block="do_pool",
        name="max_2x2",
        why="pooling works on BHWC by a round trip through BCHW, and drops an odd last row and column",
        inputs={"x": uniform(2, 7, 6, 5)},
        call=_pool_then_norm,
        exact=True,
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
        name="pool_projects_normed_input",
        why="where the width changes the shortcut is the projection of the normed input, pooled",
        kwargs={
            "dim": 16,
            "dim_out": 32,
            "num_heads": 2,
            "q_stride": (2, 2),
            "window_size": 8,
            "norm_layer": Torch("LayerNorm", {"eps": 1e-5}),
        },
        inputs={"x": uniform(2, 16, 14, 16)},
    ),
)
