"""Cases of the blocks of SAM's image encoder: REAttention, Block."""

from typing import Any

from parity.cases.calls import attention_chooses, gradients
from parity.execution.case import Case, Side, Torch, uniform


def _initial_tables(side: Side) -> Any:
    """The relative position tables as the constructor leaves them."""
    kwargs = {"dim": 8, "num_heads": 2, "use_rel_pos": True, "input_size": (4, 3)}
    initial = side.library.construct("REAttention", kwargs).state_dict()
    return [initial["rel_pos_h"].to(side.dtype), initial["rel_pos_w"].to(side.dtype)]


_ATTENTION = (
    Case(
        block="REAttention",
        name="plain",
        why="without relative positions it is plain attention, with the default of 8 heads",
        kwargs={"dim": 16},
        inputs={"x": uniform(2, 4, 5, 16)},
        check=attention_chooses(),
    ),
    Case(
        block="REAttention",
        name="rel_pos",
        why="height and width have tables of their own, read with the unscaled query, on a map that is not square",
        kwargs={"dim": 12, "num_heads": 2, "use_rel_pos": True, "input_size": (6, 4)},
        inputs={"x": uniform(2, 6, 4, 12)},
        check=attention_chooses(),
    ),
    Case(
        block="REAttention",
        name="rel_pos_interpolated",
        why="on a map of another size than the tables were made for these are interpolated, up and down",
        kwargs={"dim": 12, "num_heads": 3, "use_rel_pos": True, "input_size": (4, 8)},
        inputs={"x": uniform(1, 7, 5, 12)},
        check=attention_chooses(),
    ),
    Case(
        block="REAttention",
        name="no_qkv_bias",
        why="qkv_bias=False leaves out the bias of the first linear only",
        kwargs={"dim": 8, "num_heads": 1, "qkv_bias": False},
        inputs={"x": uniform(1, 3, 6, 8)},
        check=attention_chooses(),
    ),
    Case(
        block="REAttention",
        name="one_token",
        why="a single token meets the middle row of each table, which is then interpolated to length 1",
        kwargs={"dim": 8, "num_heads": 2, "use_rel_pos": True, "input_size": (3, 3)},
        inputs={"x": uniform(3, 1, 1, 8)},
    ),
    Case(
        block="REAttention",
        name="zero_init_flag",
        why="the page's rel_pos_zero_init=False is accepted and changes no number",
        kwargs={
            "dim": 8,
            "num_heads": 2,
            "use_rel_pos": True,
            "rel_pos_zero_init": False,
            "input_size": (3, 4),
        },
        inputs={"x": uniform(1, 3, 4, 8)},
    ),
    Case(
        block="REAttention",
        name="initial_tables",
        why="the tables begin as zeros",
        kwargs={"dim": 8},
        call=_initial_tables,
        exact=True,
    ),
    Case(
        block="REAttention",
        name="gradients",
        why="the backward pass into interpolated tables",
        kwargs={"dim": 8, "num_heads": 2, "use_rel_pos": True, "input_size": (3, 4)},
        inputs={"x": uniform(1, 4, 3, 8)},
        call=gradients(),
    ),
)

_BLOCK = (
    Case(
        block="Block",
        name="global",
        why="attention over the whole map, with norms of eps 1e-5 by default",
        kwargs={"dim": 16, "num_heads": 2},
        inputs={"x": uniform(2, 5, 4, 16)},
    ),
    Case(
        block="Block",
        name="global_rel_pos",
        why="outside windows the tables have the size of the map",
        kwargs={"dim": 16, "num_heads": 2, "use_rel_pos": True, "input_size": (6, 5)},
        inputs={"x": uniform(1, 6, 5, 16)},
    ),
    Case(
        block="Block",
        name="window_pads",
        why="windows are padded with zeros after the norm; the tables have the window's size, not input_size",
        kwargs={
            "dim": 16,
            "num_heads": 4,
            "use_rel_pos": True,
            "window_size": 4,
            "input_size": (9, 10),
        },
        inputs={"x": uniform(2, 9, 10, 16)},
    ),
    Case(
        block="Block",
        name="window_fits",
        why="windows that tile a wide map need no padding",
        kwargs={"dim": 8, "num_heads": 2, "window_size": 3},
        inputs={"x": uniform(2, 3, 9, 8)},
    ),
    Case(
        block="Block",
        name="as_in_sam",
        why="SAM gives a norm with eps 1e-6, which weighs in where the input hardly varies",
        kwargs={
            "dim": 12,
            "num_heads": 3,
            "norm_layer": Torch("LayerNorm", {"eps": 1e-6}),
            "use_rel_pos": True,
            "window_size": 4,
            "input_size": (8, 8),
        },
        inputs={"x": uniform(1, 8, 8, 12, low=-2e-3, high=2e-3)},
    ),
    Case(
        block="Block",
        name="zero_init_flag",
        why="rel_pos_zero_init=False is handed on to attention, where it changes no number",
        kwargs={
            "dim": 8,
            "num_heads": 2,
            "use_rel_pos": True,
            "rel_pos_zero_init": False,
            "input_size": (3, 5),
        },
        inputs={"x": uniform(1, 3, 5, 8)},
    ),
    Case(
        block="Block",
        name="default_eps",
        why="a norm given as a bare class keeps its own eps of 1e-5",
        kwargs={"dim": 12, "num_heads": 3},
        inputs={"x": uniform(1, 3, 3, 12, low=-5e-3, high=5e-3)},
    ),
    Case(
        block="Block",
        name="options",
        why="a hidden width rounded down, another activation, no bias in the first linear of attention",
        kwargs={
            "dim": 10,
            "num_heads": 5,
            "mlp_ratio": 1.75,
            "qkv_bias": False,
            "act_layer": Torch("ReLU"),
        },
        inputs={"x": uniform(2, 2, 7, 10)},
    ),
    Case(
        block="Block",
        name="gradients",
        why="the backward pass through padded windows with relative positions",
        kwargs={"dim": 8, "num_heads": 2, "use_rel_pos": True, "window_size": 3, "input_size": (4, 5)},
        inputs={"x": uniform(1, 4, 5, 8)},
        call=gradients(),
    ),
)

CASES = _ATTENTION + _BLOCK
