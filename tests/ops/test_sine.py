"""Encodings against their formulas, one number at a time."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from parity.execution import fill
from samblocks import blocks
from samblocks.ops.fourier import pixel_centres
from samblocks.ops.sine import _grids, get_1d_sine_pe, sine_grid


def interleaved(position: float, count: int, temperature: float) -> list[float]:
    periods = [temperature ** (2 * (i // 2) / count) for i in range(count)]
    return [math.sin(position / p) if i % 2 == 0 else math.cos(position / p) for i, p in enumerate(periods)]


@pytest.mark.parametrize(
    ("arguments", "scale"),
    [
        ({"num_pos_feats": 8}, 2 * math.pi),
        ({"num_pos_feats": 16, "temperature": 20}, 2 * math.pi),
        ({"num_pos_feats": 8, "scale": 1.5}, 1.5),
        ({"num_pos_feats": 8, "normalize": False}, None),
    ],
)
def test_sine_encoding_of_a_map(arguments: dict[str, Any], scale: float | None) -> None:
    height, width, count = 3, 5, int(arguments["num_pos_feats"]) // 2
    encoding = blocks.PositionEmbeddingSine(**arguments)
    found = encoding(torch.zeros(2, 1, height, width, dtype=torch.float64))
    assert torch.equal(found[0], found[1])

    def place(index: int, length: int) -> float:
        return index + 1 if scale is None else (index + 1) / (length + 1e-6) * scale

    for i in range(height):
        for j in range(width):
            expected = [
                *interleaved(place(i, height), count, encoding.temperature),
                *interleaved(place(j, width), count, encoding.temperature),
            ]
            np.testing.assert_allclose(found[0, :, i, j].numpy(), expected, atol=1e-13)


def test_sine_encoding_of_boxes_and_points() -> None:
    encoding = blocks.PositionEmbeddingSine(8)
    x, y, w, h = (fill.tensor(name, (3,), torch.float64) for name in "xywh")
    boxes = encoding.encode_boxes(x, y, w, h)
    labels = torch.tensor([[0.0, 1.0, -1.0]], dtype=torch.float64)
    points = encoding.encode_points(x[None], y[None], labels)
    for n in range(3):
        at = [
            number for value in (y[n], x[n]) for number in interleaved(float(value) * 2 * math.pi, 4, 10000)
        ]
        np.testing.assert_allclose(boxes[n].numpy(), [*at, float(h[n]), float(w[n])], atol=1e-13)
        np.testing.assert_allclose(points[0, n].numpy(), [*at, float(labels[0, n])], atol=1e-13)
    assert torch.equal(encoding.encode(x, y, w, h), boxes)


def test_sine_grids_are_cached_by_all_they_depend_on_and_copied_out() -> None:
    _grids.clear()
    like = torch.zeros(1)
    first = sine_grid((2, 3), 4, 10000, None, like=like)
    assert sine_grid((2, 3), 4, 10000, None, like=like.half()) is first
    for size, count, temperature, scale, other in (
        ((3, 2), 4, 10000, None, like),
        ((2, 3), 8, 10000, None, like),
        ((2, 3), 4, 20, None, like),
        ((2, 3), 4, 10000, 1.0, like),
        ((2, 3), 4, 10000, None, like.double()),
        ((2, 3), 4, 10000, None, torch.zeros(1, device="meta")),
    ):
        assert sine_grid(size, count, temperature, scale, like=other) is not first
    assert len(_grids) == 7
    encoding = blocks.PositionEmbeddingSine(8)
    outs = [encoding(torch.zeros(1, 1, 2, 3)) for _ in range(2)]
    assert outs[0].untyped_storage().data_ptr() != outs[1].untyped_storage().data_ptr()
    assert all(out.is_contiguous() for out in outs)
    assert encoding.cache == {}


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64], ids=str
)
@pytest.mark.parametrize("dim", [2, 7, 8])
def test_sine_encoding_of_a_line(dim: int, dtype: torch.dtype) -> None:
    positions = torch.tensor([[0, 1], [5, 20]], dtype=dtype)
    found = get_1d_sine_pe(positions, dim, temperature=100)
    half = dim // 2
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for index, position in np.ndenumerate(positions.double().numpy()):
        angles = [position / 100 ** (2 * (i // 2) / half) for i in range(half)]
        expected = [*map(math.sin, angles), *map(math.cos, angles)]
        np.testing.assert_allclose(
            found[index].numpy(), expected, atol=1e-12 if dtype == torch.float64 else 2e-6
        )


def test_random_encoding_of_a_map_and_of_points() -> None:
    encoding = fill.fill_(blocks.PositionEmbeddingRandom(3)).double()
    matrix = encoding.positional_encoding_gaussian_matrix.numpy()
    grid = encoding((2, 4))
    points = encoding.forward_with_coords(
        torch.tensor([[[j + 0.5, i + 0.5] for i in range(2) for j in range(4)]]), (2, 4)
    )
    assert grid.shape == (6, 2, 4)
    for i in range(2):
        for j in range(4):
            x, y = (j + 0.5) / 4, (i + 0.5) / 2
            angles = 2 * math.pi * ((2 * x - 1) * matrix[0] + (2 * y - 1) * matrix[1])
            expected = np.concatenate((np.sin(angles), np.cos(angles)))
            np.testing.assert_allclose(grid[:, i, j].numpy(), expected, atol=1e-12)
            np.testing.assert_allclose(points[0, i * 4 + j].numpy(), expected, atol=1e-12)


def test_pixel_centres_by_hand() -> None:
    found = pixel_centres((2, 4), dtype=torch.float32, device=torch.device("cpu"))
    assert found[1, 2].tolist() == [0.625, 0.75]
