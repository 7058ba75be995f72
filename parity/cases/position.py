"""Cases of the encodings of positions: PositionEmbeddingSine, PositionEmbeddingRandom, get_1d_sine_pe."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from parity.cases.calls import function
from parity.cases.family import family, row
from parity.execution.case import Side, integers, literal, uniform


def _sizes_in_turn(side: Side) -> Any:
    small, wide = side.inputs["small"], side.inputs["wide"]
    # Results are copied at once: upstream's first one shares memory with its cache.
    return [side.net(x).clone() for x in (small, wide, small, wide[:1])]


def _encode_boxes(side: Side) -> Any:
    x, y, w, h = side.inputs["boxes"].unbind(-1)
    return {"encode_boxes": side.net.encode_boxes(x, y, w, h), "encode": side.net.encode(x, y, w, h)}


def _encode_points(side: Side) -> Any:
    x, y = side.inputs["points"].unbind(-1)
    return side.net.encode_points(x, y, side.inputs["labels"])


def _encode_xy(side: Side) -> Any:
    return side.net._encode_xy(*side.inputs["points"].unbind(-1))


_SINE = family(block="PositionEmbeddingSine").of(
    map=row(
        "rows fill the first half of the channels, columns the second, sine and cosine in turn, from 1 to 2 pi",
        {"num_pos_feats": 16},
        {"x": uniform(2, 3, 5, 7)},
    ),
    as_released=row(
        "the released number of channels on a map of 16 x 16",
        {"num_pos_feats": 256},
        {"x": uniform(1, 4, 16, 16)},
    ),
    temperature=row(
        "another temperature gives other periods",
        {"num_pos_feats": 12, "temperature": 20},
        {"x": uniform(1, 1, 6, 4)},
    ),
    not_normalized=row(
        "without normalization the numbers of rows and columns themselves are encoded",
        {"num_pos_feats": 8, "normalize": False},
        {"x": uniform(2, 1, 9, 5)},
    ),
    scale=row(
        "scale takes the place of 2 pi", {"num_pos_feats": 8, "scale": 1.5}, {"x": uniform(1, 2, 3, 8)}
    ),
    one_pixel=row(
        "a map of one pixel: its number is its own maximum", {"num_pos_feats": 4}, {"x": uniform(3, 1, 1, 1)}
    ),
    sizes_in_turn=row(
        "what is kept between calls depends on the size: two sizes in turn, another batch, a repeat",
        {"num_pos_feats": 8},
        {"small": uniform(2, 1, 3, 4), "wide": uniform(3, 1, 4, 3)},
        call=_sizes_in_turn,
    ),
    encode_xy=row(
        "points of the unit square are multiplied by the scale; the x part comes first",
        {"num_pos_feats": 16, "scale": 3.0},
        {"points": uniform(7, 2, low=0.0, high=1.0)},
        call=_encode_xy,
    ),
    encode_boxes=row(
        "a box is y part, x part, height, width; `encode` is the same method",
        {"num_pos_feats": 8},
        {"boxes": uniform(5, 4, low=0.0, high=1.0)},
        call=_encode_boxes,
    ),
    encode_points=row(
        "a point is y part, x part, label, for several items",
        {"num_pos_feats": 8},
        {"points": uniform(2, 4, 2, low=0.0, high=1.0), "labels": integers(2, 4, low=0, high=2)},
        call=_encode_points,
    ),
)


def _grid(*size: int) -> Any:
    def call(side: Side) -> Any:
        return side.net(size)

    return call


def _two_grids(side: Side) -> Any:
    return [side.net((3, 4)), side.net((4, 3)), side.net((3, 4))]


def _with_coords(side: Side) -> Any:
    points = side.inputs["points"]
    return {"out": side.net.forward_with_coords(points, (20, 40)), "points_after": points}


def _matrix_scale(side: Side) -> Any:
    """The drawn matrix in units of the one drawn with scale 1: initial values follow no fixed sequence."""

    def matrix(scale: float | None) -> Tensor:
        torch.manual_seed(7)
        module = side.library.construct("PositionEmbeddingRandom", {"num_pos_feats": 6, "scale": scale})
        drawn: Tensor = module.positional_encoding_gaussian_matrix  # type: ignore[assignment]
        return drawn.to(side.dtype)

    one = matrix(1.0)
    return {str(scale): matrix(scale) / one for scale in (4.0, None, 0.0, -4.0)}


def _signs_occur(outputs: Mapping[str, Tensor]) -> None:
    for path, value in outputs.items():
        if not (bool((value > 0.5).any()) and bool((value < -0.5).any())):
            raise AssertionError(f"{path} hardly varies")


_RANDOM = family(block="PositionEmbeddingRandom").of(
    grid=row(
        "pixel centres of a map that is not square, all sines, then all cosines",
        {"num_pos_feats": 6},
        call=_grid(5, 7),
        check=_signs_occur,
    ),
    default_features=row("64 features by default, thus 128 channels", call=_grid(4, 4)),
    one_pixel=row(
        "the centre of a single pixel is the origin of the directions: sines 0, cosines 1",
        {"num_pos_feats": 4},
        call=_grid(1, 1),
    ),
    two_sizes=row(
        "height and width swapped, and the first size again, give what each gives alone",
        {"num_pos_feats": 3},
        call=_two_grids,
    ),
    points=row(
        "points are (x, y) in pixels while the image's size is (height, width); the caller's points stay",
        {"num_pos_feats": 8},
        {"points": uniform(2, 5, 2, low=0.0, high=40.0)},
        call=_with_coords,
        check=None,
    ),
    points_outside=row(
        "points outside of the image, and on its edge, are encoded like others",
        {"num_pos_feats": 8},
        {"points": literal([[[-3.5, 12.0], [0.0, 0.0], [40.0, 20.0], [55.25, -7.75]]])},
        call=_with_coords,
    ),
    unit_square=row(
        "the encoding itself takes points of the unit square, of any leading shape",
        {"num_pos_feats": 5},
        {"coords": uniform(3, 2, 4, 2, low=0.0, high=1.0)},
        call=lambda side: side.net._pe_encoding(side.inputs["coords"]),
        check=_signs_occur,
    ),
    scale=row(
        "the matrix is drawn with the given spread; none, zero or a negative one means 1",
        {"num_pos_feats": 6, "scale": 4.0},
        call=_matrix_scale,
        exact=True,
    ),
)

_LINE = family(block="get_1d_sine_pe").of(
    frames=row(
        "distances in time that are no whole numbers: all sines, then all cosines",
        inputs={"pos_inds": uniform(7, low=-1.0, high=1.0)},
        call=function("get_1d_sine_pe", dim=16),
    ),
    whole_numbers=row(
        "int64 positions, of two axes",
        inputs={"pos_inds": integers(2, 9, low=0, high=40)},
        call=function("get_1d_sine_pe", dim=8),
        double=False,
    ),
    temperature_odd_dim=row(
        "another longest period; an odd number of channels gives one less",
        inputs={"pos_inds": uniform(3, 4, low=0.0, high=16.0)},
        call=function("get_1d_sine_pe", dim=11, temperature=50),
    ),
)

CASES = _SINE + _RANDOM + _LINE
