"""Cases of the blocks of SAM's image encoder: REAttention, Block."""

from typing import Any

from parity.cases.calls import attention_chooses
from parity.cases.family import family, row
from parity.execution.case import Side, Torch, uniform
from parity.execution.training import gradients


def _initial_tables(side: Side) -> Any:
    """The relative position tables as the constructor leaves them."""
    kwargs = {"dim": 8, "num_heads": 2, "use_rel_pos": True, "input_size": (4, 3)}
    initial = side.library.construct("REAttention", kwargs).state_dict()
    return [initial["rel_pos_h"].to(side.dtype), initial["rel_pos_w"].to(side.dtype)]


_ATTENTION = family(block="REAttention", kwargs={"dim": 8}).of(
    plain=row(
        "without relative positions it is plain attention, with the default of 8 heads",
        {"dim": 16},
        {"x": uniform(2, 4, 5, 16)},
        check=attention_chooses(),
    ),
    rel_pos=row(
        "height and width have tables of their own, read with the unscaled query, on a map that is not square",
        {"dim": 12, "num_heads": 2, "use_rel_pos": True, "input_size": (6, 4)},
        {"x": uniform(2, 6, 4, 12)},
        check=attention_chooses(),
    ),
    rel_pos_interpolated=row(
        "on a map of another size than the tables were made for these are interpolated, up and down",
        {"dim": 12, "num_heads": 3, "use_rel_pos": True, "input_size": (4, 8)},
        {"x": uniform(1, 7, 5, 12)},
        check=attention_chooses(),
    ),
    no_qkv_bias=row(
        "qkv_bias=False leaves out the bias of the first linear only",
        {"num_heads": 1, "qkv_bias": False},
        {"x": uniform(1, 3, 6, 8)},
        check=attention_chooses(),
    ),
    one_token=row(
        "a single token meets the middle row of each table, which is then interpolated to length 1",
        {"num_heads": 2, "use_rel_pos": True, "input_size": (3, 3)},
        {"x": uniform(3, 1, 1, 8)},
    ),
    zero_init_flag=row(
        "the reference page's rel_pos_zero_init=False is accepted and changes no number",
        {"num_heads": 2, "use_rel_pos": True, "rel_pos_zero_init": False, "input_size": (3, 4)},
        {"x": uniform(1, 3, 4, 8)},
    ),
    initial_tables=row("the tables begin as zeros", call=_initial_tables, exact=True),
    gradients=row(
        "the backward pass into interpolated tables",
        {"num_heads": 2, "use_rel_pos": True, "input_size": (3, 4)},
        {"x": uniform(1, 4, 3, 8)},
        call=gradients(),
    ),
)

_BLOCK = family(block="Block").of(
    **{
        "global": row(
            "attention over the whole map, with norms of eps 1e-5 by default",
            {"dim": 16, "num_heads": 2},
            {"x": uniform(2, 5, 4, 16)},
        )
    },
    global_rel_pos=row(
        "outside windows the tables have the size of the map",
        {"dim": 16, "num_heads": 2, "use_rel_pos": True, "input_size": (6, 5)},
        {"x": uniform(1, 6, 5, 16)},
    ),
    window_pads=row(
        "windows are padded with zeros after the norm; the tables have the window's size, not input_size",
        {"dim": 16, "num_heads": 4, "use_rel_pos": True, "window_size": 4, "input_size": (9, 10)},
        {"x": uniform(2, 9, 10, 16)},
    ),
    window_fits=row(
        "windows that tile a wide map need no padding",
        {"dim": 8, "num_heads": 2, "window_size": 3},
        {"x": uniform(2, 3, 9, 8)},
    ),
    several_windows=row(
        "five windows from top to bottom, of which the last is half padding",
        {"dim": 8, "num_heads": 2, "use_rel_pos": True, "window_size": 4, "input_size": (18, 10)},
        {"x": uniform(1, 18, 10, 8)},
    ),
    as_in_sam=row(
        "SAM gives a norm with eps 1e-6, which weighs in where the input hardly varies",
        {
            "dim": 12,
            "num_heads": 3,
            "norm_layer": Torch("LayerNorm", {"eps": 1e-6}),
            "use_rel_pos": True,
            "window_size": 4,
            "input_size": (8, 8),
        },
        {"x": uniform(1, 8, 8, 12, low=-2e-3, high=2e-3)},
    ),
    zero_init_flag=row(
        "rel_pos_zero_init=False is handed on to attention, where it changes no number",
        {"dim": 8, "num_heads": 2, "use_rel_pos": True, "rel_pos_zero_init": False, "input_size": (3, 5)},
        {"x": uniform(1, 3, 5, 8)},
    ),
    default_eps=row(
        "a norm given as a bare class keeps its own eps of 1e-5",
        {"dim": 12, "num_heads": 3},
        {"x": uniform(1, 3, 3, 12, low=-5e-3, high=5e-3)},
    ),
    options=row(
        "a hidden width rounded down, another activation, no bias in the first linear of attention",
        {"dim": 10, "num_heads": 5, "mlp_ratio": 1.75, "qkv_bias": False, "act_layer": Torch("ReLU")},
        {"x": uniform(2, 2, 7, 10)},
    ),
    gradients=row(
        "the backward pass through padded windows with relative positions",
        {"dim": 8, "num_heads": 2, "use_rel_pos": True, "window_size": 3, "input_size": (4, 5)},
        {"x": uniform(1, 4, 5, 8)},
        call=gradients(),
    ),
)

CASES = _ATTENTION + _BLOCK
