"""Cases of rotary position encoding: RoPEAttention, compute_axial_cis, apply_rotary_enc."""

from typing import Any

import torch

from parity.cases.calls import attention_chooses, forward
from parity.cases.family import family, row
from parity.execution.case import Side, Spec, uniform
from parity.execution.training import gradients


def _qkv(batch: int, queries: int, keys: int, width: int, key_width: int | None = None) -> dict[str, Spec]:
    key_width = key_width or width
    return {
        "q": uniform(batch, queries, width),
        "k": uniform(batch, keys, key_width),
        "v": uniform(batch, keys, key_width),
    }


def _sizes_in_turn(side: Side) -> Any:
    large, small = side.inputs["large"], side.inputs["small"]
    return [side.net(x, x, x) for x in (large, small, large, large)]


def _readable_tables(side: Side) -> Any:
    tables = {"freqs_cis": side.net.freqs_cis, "compute_cis": side.net.compute_cis(end_x=3, end_y=2)}
    return {name: torch.view_as_real(table) for name, table in tables.items()}


_MEMORY = {"embedding_dim": 16, "kv_in_dim": 6, "rope_k_repeat": True, "feat_sizes": (4, 4)}
_FRAMES_AND_POINTERS = _qkv(2, 16, 3 * 16 + 4, 16, 6)

_ATTENTION = family(block="RoPEAttention").of(
    self=row(
        "queries and keys are turned by column and row of the grid, values are not",
        {"embedding_dim": 16, "num_heads": 2, "feat_sizes": (4, 4)},
        _qkv(2, 16, 16, 16),
        check=attention_chooses(),
    ),
    other_grid_than_announced=row(
        "where feat_sizes does not fit the number of queries, a square grid is taken",
        {"embedding_dim": 16, "num_heads": 2},
        _qkv(1, 25, 25, 16),
        check=attention_chooses(),
    ),
    grid_not_square=row(
        "feat_sizes is (width, height), and a grid that is not square is used where it fits",
        {"embedding_dim": 16, "num_heads": 1, "feat_sizes": (6, 4)},
        _qkv(2, 24, 24, 16),
        check=attention_chooses(),
    ),
    theta=row(
        "another base of the angles",
        {"embedding_dim": 16, "num_heads": 1, "rope_theta": 30.0, "feat_sizes": (3, 3)},
        _qkv(1, 9, 9, 16),
        check=attention_chooses(),
    ),
    downsampled=row(
        "the angles follow the width of a head after downsampling",
        {"embedding_dim": 32, "num_heads": 2, "downsample_rate": 2, "feat_sizes": (4, 4)},
        _qkv(1, 16, 16, 32),
        check=attention_chooses(),
    ),
    memory=row(
        "keys of several frames are turned like those of one, in turn; the last ones, pointers, are not turned",
        {"num_heads": 2, **_MEMORY},
        _FRAMES_AND_POINTERS,
        call=forward(num_k_exclude_rope=4),
        check=attention_chooses(),
    ),
    memory_of_one_head=row(
        "the released kind: one head, and a memory with fewer channels than the keys that are made of it",
        {"num_heads": 1, **_MEMORY},
        _FRAMES_AND_POINTERS,
        call=forward(num_k_exclude_rope=4),
        check=attention_chooses(),
    ),
    memory_without_pointers=row(
        "two frames of memory and no excluded keys",
        {"embedding_dim": 8, "num_heads": 1, "rope_k_repeat": True, "feat_sizes": (4, 4)},
        _qkv(1, 16, 32, 8),
        check=attention_chooses(),
    ),
    pointers_alone=row(
        "with all keys excluded the queries alone are turned",
        {"embedding_dim": 16, "num_heads": 2, "rope_k_repeat": True, "feat_sizes": (3, 3)},
        _qkv(1, 9, 5, 16),
        call=forward(num_k_exclude_rope=5),
        check=attention_chooses(),
    ),
    excluded_among_as_many=row(
        "as many keys as queries, some of them excluded: the turned ones are fewer than the queries",
        {"embedding_dim": 16, "num_heads": 1, "rope_k_repeat": True, "feat_sizes": (2, 2)},
        _qkv(2, 4, 6, 16),
        call=forward(num_k_exclude_rope=2),
    ),
    sizes_in_turn=row(
        "what is kept between calls depends on the size: two sizes in turn and a repeat",
        {"embedding_dim": 8, "num_heads": 2, "feat_sizes": (4, 4)},
        {"large": uniform(1, 16, 8), "small": uniform(1, 9, 8)},
        call=_sizes_in_turn,
        check=attention_chooses("0", "1"),
    ),
    one_token=row(
        "a grid of one pixel is turned by nothing",
        {"embedding_dim": 8, "num_heads": 1, "feat_sizes": (1, 1)},
        _qkv(2, 1, 1, 8),
    ),
    readable_tables=row(
        "the table of the announced grid, and the function that makes others, stand on the module",
        {"embedding_dim": 16, "num_heads": 2, "rope_theta": 30.0, "feat_sizes": (5, 4)},
        call=_readable_tables,
        double=False,
    ),
    train_dropout=row(
        "in training attention weights are dropped after the rotation",
        {"embedding_dim": 8, "num_heads": 1, "dropout": 0.3, "feat_sizes": (3, 3)},
        _qkv(2, 9, 9, 8),
        train=True,
    ),
    gradients=row(
        "the backward pass through rotation, repeated frames and excluded keys",
        {"embedding_dim": 8, "num_heads": 1, "kv_in_dim": 6, "rope_k_repeat": True, "feat_sizes": (3, 3)},
        _qkv(1, 9, 2 * 9 + 2, 8, 6),
        call=gradients(lambda side, given: side.net(*given.values(), num_k_exclude_rope=2)),
    ),
)


def _table(**kwargs: Any) -> Any:
    """A table as real numbers: complex ones do not cross to a worker."""

    def call(side: Side) -> Any:
        return torch.view_as_real(side.library.function("compute_axial_cis")(**kwargs))

    return call


_TABLES = family(block="compute_axial_cis", double=False).of(
    square=row(
        "the first half of the pairs turns with the column, the second with the row",
        call=_table(dim=16, end_x=4, end_y=4),
    ),
    wide=row("end_x is the width: pixels are counted row by row", call=_table(dim=8, end_x=5, end_y=3)),
    theta_whole_floats=row(
        "another base, and sides given as floats, as attention gives them",
        call=_table(dim=12, end_x=6.0, end_y=6.0, theta=50.0),
    ),
    as_released=row(
        "the released table: 256 channels on 64 x 64", call=_table(dim=256, end_x=64, end_y=64, theta=10000.0)
    ),
    scaled=row(
        "positions multiplied by a factor, for grids finer than those seen in training",
        call=_table(dim=8, end_x=4, end_y=3, scale_pos=0.75),
    ),
)


def _rotated(*, repeat: bool = False) -> Any:
    def call(side: Side) -> Any:
        xq, xk, angles = side.inputs.values()
        rotations = torch.polar(torch.ones_like(angles), angles)
        return side.library.function("apply_rotary_enc")(xq, xk, rotations, repeat_freqs_k=repeat)

    return call


def _rotation(batch: int, heads: int, queries: int, keys: int, width: int) -> dict[str, Spec]:
    return {
        "xq": uniform(batch, heads, queries, width),
        "xk": uniform(batch, heads, keys, width),
        "angles": uniform(queries, width // 2, low=-4.0, high=4.0),
    }


_ROTATION = family(block="apply_rotary_enc").of(
    as_many_keys=row(
        "adjacent channels are one complex number each, and are multiplied by the turn",
        inputs=_rotation(2, 3, 6, 6, 8),
        call=_rotated(),
    ),
    repeated=row(
        "three times as many keys are turned by the same table, from its first row each time",
        inputs=_rotation(1, 2, 4, 12, 8),
        call=_rotated(repeat=True),
    ),
    repeated_once=row(
        "repeating a table once is the same as not repeating it",
        inputs=_rotation(1, 1, 5, 5, 4),
        call=_rotated(repeat=True),
    ),
    no_keys=row(
        "without keys the queries alone are turned", inputs=_rotation(2, 1, 4, 0, 8), call=_rotated()
    ),
)

CASES = _ATTENTION + _TABLES + _ROTATION
