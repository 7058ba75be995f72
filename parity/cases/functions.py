"""Cases of the free functions on windows, relative positions and conditioning frames."""

from typing import Any

import torch
from torch import Tensor

from parity.cases.calls import function
from parity.cases.family import family, row
from parity.execution.case import Side, uniform


def _round_trip(side: Side) -> Any:
    x = side.inputs["x"]
    windows, padded = side.library.function("window_partition")(x, 4)
    return side.library.function("window_unpartition")(windows, 4, padded, tuple(x.shape[1:3]))


_WINDOWS = (
    *family(block="window_partition", exact=True).of(
        fits=row(
            "windows come item by item, then row by row",
            inputs={"x": uniform(2, 6, 9, 2)},
            call=function("window_partition", 3),
        ),
        pads=row(
            "zeros are added at the bottom and the right, each axis as far as it needs",
            inputs={"x": uniform(2, 5, 8, 3)},
            call=function("window_partition", window_size=4),
        ),
        larger_than_map=row(
            "one window holds a whole item and its padding",
            inputs={"x": uniform(3, 2, 3, 2)},
            call=function("window_partition", 5),
        ),
    ),
    *family(block="window_unpartition", exact=True).of(
        crops=row(
            "windows of several items become maps again, without the padding",
            inputs={"windows": uniform(8, 4, 4, 3)},
            call=function("window_unpartition", 4, (8, 8), (7, 5)),
        ),
        fits=row(
            "without padding nothing is cut off",
            inputs={"windows": uniform(6, 3, 3, 2)},
            call=function("window_unpartition", window_size=3, pad_hw=(3, 9), hw=(3, 9)),
        ),
        round_trip=row(
            "it is the inverse of window_partition on a map that is padded on both axes",
            inputs={"x": uniform(2, 7, 10, 3)},
            call=_round_trip,
        ),
    ),
)

_RELATIVE = (
    *family(block="get_rel_pos").of(
        same_size=row(
            "each pair of query and key reads one row of the table, by distance",
            inputs={"rel_pos": uniform(9, 3)},
            call=lambda side: side.library.function("get_rel_pos")(5, 5, side.inputs["rel_pos"]),
            exact=True,
        ),
        more_keys=row(
            "with twice as many keys as queries the queries' positions are stretched",
            inputs={"rel_pos": uniform(11, 2)},
            call=lambda side: side.library.function("get_rel_pos")(3, 6, side.inputs["rel_pos"]),
            exact=True,
        ),
        more_queries=row(
            "with more queries than keys the keys' positions are stretched, and cut to whole rows",
            inputs={"rel_pos": uniform(13, 2)},
            call=lambda side: side.library.function("get_rel_pos")(
                q_size=7, k_size=2, rel_pos=side.inputs["rel_pos"]
            ),
            exact=True,
        ),
        table_too_short=row(
            "a table of another length is interpolated linearly, without aligned corners",
            inputs={"rel_pos": uniform(7, 4)},
            call=lambda side: side.library.function("get_rel_pos")(6, 6, side.inputs["rel_pos"]),
        ),
        table_too_long=row(
            "a table that is too long is interpolated down, without smoothing",
            inputs={"rel_pos": uniform(27, 4)},
            call=lambda side: side.library.function("get_rel_pos")(4, 4, side.inputs["rel_pos"]),
        ),
    ),
    *family(block="add_decomposed_rel_pos").of(
        non_square=row(
            "the terms of rows and of columns are added to the right axes of a map that is not square",
            inputs={
                "attn": uniform(3, 12, 12),
                "q": uniform(3, 12, 4),
                "rel_pos_h": uniform(5, 4),
                "rel_pos_w": uniform(7, 4),
            },
            call=function("add_decomposed_rel_pos", (3, 4), (3, 4)),
        ),
        fewer_keys=row(
            "queries and keys may lie on grids of different sizes",
            inputs={
                "attn": uniform(2, 24, 6),
                "q": uniform(2, 24, 4),
                "rel_pos_h": uniform(7, 4),
                "rel_pos_w": uniform(11, 4),
            },
            call=function("add_decomposed_rel_pos", q_size=(4, 6), k_size=(2, 3)),
        ),
        interpolated=row(
            "both tables are interpolated to the grid first",
            inputs={
                "attn": uniform(1, 15, 15),
                "q": uniform(1, 15, 4),
                "rel_pos_h": uniform(9, 4),
                "rel_pos_w": uniform(5, 4),
            },
            call=function("add_decomposed_rel_pos", (3, 5), (3, 5)),
        ),
    ),
)


def _chosen(frame: int, frames: tuple[int, ...], most: int) -> Any:
    """What is chosen for `frame`, in order, what is left, and whether the dictionary itself came back."""

    def call(side: Side) -> Any:
        outputs = {index: f"frame {index}" for index in frames}
        chosen, left = side.library.function("select_closest_cond_frames")(
            frame_idx=frame, cond_frame_outputs=outputs, max_cond_frame_num=most
        )
        return {
            "chosen": _indices(chosen),
            "left": _indices(left),
            "same_object": chosen is outputs,
            "values_kept": all(outputs[index] == value for index, value in (chosen | left).items()),
        }

    return call


def _indices(frames: dict[int, str]) -> Tensor:
    return torch.tensor(list(frames), dtype=torch.int64)


_FRAMES = family(block="select_closest_cond_frames", exact=True).of(
    three_of_five=row(
        "the last before the frame, the first from it on, then the nearest of the rest, in this order",
        call=_chosen(5, (1, 3, 7, 9, 20), 3),
    ),
    all=row("-1 chooses all and gives back the dictionary itself", call=_chosen(5, (1, 3, 7), -1)),
    few_enough=row("as many frames as may be chosen come back as they are", call=_chosen(2, (0, 8, 4), 3)),
    all_before=row(
        "with nothing from the frame on only earlier frames are chosen", call=_chosen(30, (2, 11, 5, 23), 2)
    ),
    frame_itself_and_ties=row(
        "the frame itself counts as later, and of frames equally far the first in the dictionary is taken",
        call=_chosen(6, (10, 6, 2, 4, 8), 4),
    ),
)

CASES = _WINDOWS + _RELATIVE + _FRAMES
