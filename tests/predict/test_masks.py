"""Masks in other forms: outlines against a scan of their own, encodings there and back."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samblocks
from parity.execution import fill
from samblocks.predict import rle
from samblocks.predict.masks import Masks
from samblocks.predict.polygons import Polygon, polygons


def _random(height: int, width: int, share: float, name: str = "mask") -> np.ndarray:
    return fill.uniform(name, (height, width), 0.0, 1.0) < share


def _signed_area(ring: np.ndarray) -> float:
    x, y = ring.astype(np.int64).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _filled(pieces: list[Polygon], size: tuple[int, int]) -> np.ndarray:
    """How many outlines of foreground, less holes, are around each pixel: a scan from left to right."""
    crossings = np.zeros((size[0], size[1] + 1), np.int64)
    for piece in pieces:
        for ring in (piece.outer, *piece.holes):
            for (x, y), (to_x, to_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                if x == to_x:
                    crossings[min(y, to_y) : max(y, to_y), x] += np.sign(y - to_y)
    return crossings.cumsum(axis=1)[:, :-1]


@settings(max_examples=120, deadline=None)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    share=st.sampled_from([0.0, 0.2, 0.5, 0.8, 0.95, 1.0]),
    name=st.text("abc", min_size=1, max_size=4),
)
def test_outlines_enclose_the_mask_and_nothing_else(height: int, width: int, share: float, name: str) -> None:
    mask = _random(height, width, share, name)
    pieces = polygons(mask)
    assert np.array_equal(_filled(pieces, mask.shape), mask.astype(np.int64))
    for piece in pieces:
        assert _signed_area(piece.outer) > 0
        assert all(_signed_area(hole) < 0 for hole in piece.holes)
        # A piece alone, with its own holes, is connected foreground and nothing negative.
        alone = _filled([piece], mask.shape)
        assert set(np.unique(alone)) <= {0, 1}
        assert _signed_area(piece.outer) + sum(map(_signed_area, piece.holes)) == alone.sum()


def test_holes_belong_to_the_piece_around_them() -> None:
    mask = np.ones((9, 15), bool)
    mask[1:8, 1:8] = False
    mask[2:7, 2:7] = True
    mask[4, 4] = False
    mask[3, 11], mask[5, 11] = False, False
    outside, inside = polygons(mask)
    assert len(outside.holes) == 3
    assert [hole.tolist() for hole in inside.holes] == [[[4, 4], [4, 5], [5, 5], [5, 4]]]


def test_pixels_that_touch_at_a_corner_are_two_pieces() -> None:
    assert [piece.outer.tolist() for piece in polygons(np.eye(2))] == [
        [[0, 0], [1, 0], [1, 1], [0, 1]],
        [[1, 1], [2, 1], [2, 2], [1, 2]],
    ]
    assert polygons(np.zeros((3, 3))) == []
    with pytest.raises(ValueError, match=r"mask must be \[H, W\], found \[1, 2, 3\]"):
        polygons(np.zeros((1, 2, 3)))


def test_the_forms_agree_with_each_other() -> None:
    array = np.stack([_random(21, 33, share, f"{share}") for share in (0.3, 0.7, 0.0)])
    masks = samblocks.Masks(array, [0.5, 0.25, 0.0])
    assert np.array_equal(np.asarray(masks), array)
    assert masks.numpy() is not array
    assert masks.areas.tolist() == array.sum((1, 2)).tolist()
    for one, back in zip(array, masks.rle(), strict=True):
        assert np.array_equal(rle.decode(back), one)
        assert isinstance(back["counts"], str)
    assert masks.rle(compressed=False) == rle.encode(array)
    rows, columns = np.nonzero(array[0])
    assert masks.boxes[0].tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
    assert masks.boxes[2].tolist() == [0, 0, 0, 0]
    assert [len(pieces) > 0 for pieces in masks.polygons()] == [True, True, False]
    assert len(masks) == 3
    assert masks.size == (21, 33)
    assert [record["predicted_iou"] for record in masks] == [0.5, 0.25, 0.0]
    assert len(masks[1:]) == 2
    assert repr(masks) == "Masks(3 of 21 x 33 pixels)"


def test_what_predict_gives_in_any_shape() -> None:
    assert len(Masks(np.ones((2, 3, 4, 5), np.float32), np.ones((2, 3)))) == 6
    assert len(Masks(np.ones((4, 5), np.bool_))) == 1
    with pytest.raises(ValueError, match="scores holds 2 scores for 1 mask"):
        Masks(np.ones((4, 5)), [1, 2])
    with pytest.raises(ValueError, match="masks must be an array"):
        Masks("masks")


def test_records_come_back() -> None:
    masks = Masks(_random(9, 8, 0.5), [0.75])
    again = Masks.from_records(masks, (9, 8))
    assert np.array_equal(again.numpy(), masks.numpy())
    encoded = [{**masks[0], "segmentation": masks.rle()[0]}]
    assert np.array_equal(Masks.from_records(encoded, (9, 8)).numpy(), masks.numpy())
    assert Masks.from_records([], (9, 8)).numpy().shape == (0, 9, 8)


@pytest.mark.parametrize("transform", [None, (0.5, 0.0, 100.0, 0.0, -0.5, 200.0)])
def test_geojson_turns_as_its_rfc_wants(transform: Any) -> None:
    mask = np.ones((5, 6), bool)
    mask[1:4, 1:5] = False
    mask[2, 2] = True
    found = json.loads(json.dumps(Masks([mask, mask & False], [0.9, 0.1]).geojson(transform)))
    first, empty = found["features"]
    assert empty["geometry"] is None
    assert first["geometry"]["type"] == "MultiPolygon"
    assert first["properties"]["area"] == 19
    (outer, hole), (island,) = first["geometry"]["coordinates"]
    for ring, sign in ((outer, 1), (hole, -1), (island, 1)):
        assert ring[0] == ring[-1]
        assert np.sign(_signed_area_of_places(np.array(ring[:-1]))) == sign
    if transform:
        assert [100.0, 200.0] in outer
        assert [103.0, 197.5] in outer


def _signed_area_of_places(ring: np.ndarray) -> float:
    x, y = ring.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2
