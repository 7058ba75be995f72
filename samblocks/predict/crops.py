"""Where a mask generator looks: grids of points, overlapping crops, and which boxes a crop has cut."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Grid = NDArray[np.float64]
"""Points (x, y) as fractions of width and height: [N, 2]."""

CropBox = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels of the picture, ends excluded."""

EDGE = 20.0
"""How close to a crop's edge, in pixels, a box is taken for cut off."""


def build_point_grid(n_per_side: int) -> Grid:
    """Spread n x n points evenly: [n², 2], x running fastest.

    Args:
        n_per_side: how many there are in a row and in a column.

    Examples:
        >>> build_point_grid(2).tolist()
        [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    """
    offset = 1 / (2 * n_per_side)
    side = np.linspace(offset, 1 - offset, n_per_side)
    return np.stack([np.tile(side, n_per_side), np.repeat(side, n_per_side)], axis=1)


def build_all_layer_point_grids(n_per_side: int, n_layers: int, scale_per_layer: int) -> list[Grid]:
    """Make the grid of the whole picture and of each layer of crops.

    Args:
        n_per_side: points in a row of the whole picture's grid.
        n_layers: how many layers of crops there are.
        scale_per_layer: by what a row's points are divided from one layer to the next.

    Returns:
        `n_layers` + 1 grids.

    Raises:
        ValueError: a layer would have no points.

    Examples:
        >>> [len(grid) for grid in build_all_layer_point_grids(8, 2, 2)]
        [64, 16, 4]
    """
    sides = [int(n_per_side / scale_per_layer**layer) for layer in range(n_layers + 1)]
    if min(sides) < 1:
        raise ValueError(
            f"points_per_side={n_per_side}, divided by {scale_per_layer} for each of {n_layers} layers, leaves a "
            "layer without points: lower crop_n_layers or crop_n_points_downscale_factor"
        )
    return [build_point_grid(side) for side in sides]


def generate_crop_boxes(
    im_size: Sequence[int], n_layers: int, overlap_ratio: float
) -> tuple[list[CropBox], list[int]]:
    """Cut a picture into overlapping crops: itself, then 2 x 2, 4 x 4, … of them.

    Args:
        im_size: (height, width) of the picture.
        n_layers: how many layers of crops there are, beside the picture itself.
        overlap_ratio: by how much of the picture's shorter side neighbours overlap in the first layer; half as much
            in the next one, and so on.

    Returns:
        The boxes, layer by layer and in each column by column; and the layer of each. Crops that would lie outside a
        tiny picture are left out.

    Examples:
        >>> boxes, layers = generate_crop_boxes((1200, 1800), 1, 512 / 1500)
        >>> boxes[1:3], layers
        ([(0, 0, 1105, 805), (0, 396, 1105, 1200)], [0, 1, 1, 1, 1])
    """
    height, width = im_size
    boxes: list[CropBox] = [(0, 0, width, height)]
    layers = [0]
    for layer in range(1, n_layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * 2 / per_side)
        crop_width = math.ceil((overlap * (per_side - 1) + width) / per_side)
        crop_height = math.ceil((overlap * (per_side - 1) + height) / per_side)
        for column in range(per_side):
            for row in range(per_side):
                x0, y0 = (crop_width - overlap) * column, (crop_height - overlap) * row
                if x0 < width and y0 < height:
                    boxes.append((x0, y0, min(x0 + crop_width, width), min(y0 + crop_height, height)))
                    layers.append(layer)
    return boxes, layers


def is_box_near_crop_edge(boxes: Tensor, crop_box: CropBox, orig_box: CropBox) -> Tensor:
    """Find the boxes that end at an edge of the crop where the picture goes on: what they hold is cut off.

    Args:
        boxes: [N, 4], x0, y0, x1, y1 in pixels of the crop.
        crop_box: where the crop is.
        orig_box: the whole picture.

    Returns:
        [N] bool

    Examples:
        >>> import torch
        >>> boxes = torch.tensor([[20, 50, 60, 60], [21, 50, 60, 60]])
        >>> is_box_near_crop_edge(boxes, (100, 0, 200, 100), (0, 0, 200, 100))
        tensor([ True, False])
    """
    x0, y0, _, _ = crop_box
    in_picture = boxes + boxes.new_tensor([x0, y0, x0, y0])

    def near(edges: CropBox) -> Tensor:
        return (in_picture - boxes.new_tensor(edges)).abs() <= EDGE

    return (near(crop_box) & ~near(orig_box)).any(1)
