"""Grids, crops and edges against what upstream gave for a picture of 1200 x 1800, and against definitions."""

import itertools
import math

import numpy as np
import pytest
import torch

from samblocks.predict.crops import (
    build_all_layer_point_grids,
    build_point_grid,
    generate_crop_boxes,
    is_box_near_crop_edge,
)

RATIO = 512 / 1500


@pytest.mark.parametrize("side", [1, 3, 32])
def test_a_grid_is_centred_and_x_runs_fastest(side: int) -> None:
    grid = build_point_grid(side)
    assert grid.dtype == np.float64
    expected = [[(x + 0.5) / side, (y + 0.5) / side] for y in range(side) for x in range(side)]
    assert np.abs(grid - np.array(expected)).max() < 1e-15


def test_grids_thin_out() -> None:
    assert [len(grid) for grid in build_all_layer_point_grids(32, 2, 2)] == [1024, 256, 64]
    assert [len(grid) for grid in build_all_layer_point_grids(7, 2, 2)] == [49, 9, 1]
    assert [len(grid) for grid in build_all_layer_point_grids(5, 1, 1)] == [25, 25]
    with pytest.raises(ValueError, match=r"points_per_side=2, divided by 3 .* without points"):
        build_all_layer_point_grids(2, 1, 3)


def test_crops_of_a_photograph() -> None:
    boxes, layers = generate_crop_boxes((1200, 1800), 1, RATIO)
    assert boxes == [
        (0, 0, 1800, 1200),
        (0, 0, 1105, 805),
        (0, 396, 1105, 1200),
        (696, 0, 1800, 805),
        (696, 396, 1800, 1200),
    ]
    assert layers == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("size", "ratio"), [((71, 203), RATIO), ((40, 40), 0.0), ((333, 221), 0.8), ((9, 11), RATIO)]
)
def test_crops_cover_the_picture_and_stay_in_it(size: tuple[int, int], ratio: float) -> None:
    boxes, layers = generate_crop_boxes(size, 2, ratio)
    assert [layers.count(layer) for layer in range(3)] == [1, 4, 16]
    for layer in range(3):
        covered = np.zeros(size, int)
        for (x0, y0, x1, y1), of in zip(boxes, layers, strict=True):
            assert 0 <= x0 < x1 <= size[1]
            assert 0 <= y0 < y1 <= size[0]
            covered[y0:y1, x0:x1] += of == layer
        assert covered.min() >= 1


def test_crops_beyond_a_tiny_picture_are_left_out() -> None:
    boxes, layers = generate_crop_boxes((7, 5), 2, RATIO)
    assert all(x0 < x1 <= 5 and y0 < y1 <= 7 for x0, y0, x1, y1 in boxes)
    assert len(boxes) == len(layers) == 17  # the last column of the second layer would begin at 6


def test_the_overlap_halves_with_each_layer() -> None:
    boxes, layers = generate_crop_boxes((400, 800), 2, 0.25)
    for layer, overlap in ((1, 100), (2, 50)):
        row = sorted({box[::2] for box, of in zip(boxes, layers, strict=True) if of == layer})
        assert {one[1] - other[0] for one, other in itertools.pairwise(row)} == {overlap}
        assert len(row) == 2**layer
    assert math.ceil((100 + 800) / 2) == boxes[1][2]


def test_edges_of_a_crop() -> None:
    crop, picture = (100, 200, 400, 500), (0, 0, 1000, 510)

    def near(*box: int) -> bool:
        return bool(is_box_near_crop_edge(torch.tensor([box]), crop, picture)[0])

    assert not near(21, 21, 279, 100)
    assert near(20, 21, 279, 100)  # in the picture 120 beside the crop's 100
    assert near(21, 20, 279, 100)
    assert near(21, 21, 280, 100)
    assert not near(21, 21, 279, 299)  # within 20 of the crop's lower edge, and of the picture's
    assert near(21, 21, 279, 281)  # within 20 of the crop's lower edge, 29 from the picture's
    assert near(0, 21, 100, 100)
    assert near(21, 21, 320, 100)  # beyond the edge, and near it all the same
    none = is_box_near_crop_edge(torch.zeros(0, 4, dtype=torch.int64), crop, picture)
    assert none.shape == (0,)
    # The whole picture's edges cut nothing.
    assert not is_box_near_crop_edge(torch.tensor([[0, 0, 999, 509]]), picture, picture).any()
