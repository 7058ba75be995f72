"""Resizing against Pillow itself."""

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from parity.execution import fill
from samblocks.predict.resize import fitting_size, resize_bytes, resize_smooth

_SIDE = st.integers(1, 70)


def _picture(height: int, width: int, channels: int = 3) -> np.ndarray:
    return fill.integers("picture", (height, width, channels), 0, 256).astype(np.uint8)


def _by_pillow(picture: np.ndarray, size: tuple[int, int], filter: str) -> np.ndarray:
    resample = Image.Resampling[filter.upper()]
    return np.asarray(Image.fromarray(picture).resize(size[::-1], resample))


@settings(max_examples=150, deadline=None)
@given(
    before=st.tuples(_SIDE, _SIDE),
    after=st.tuples(_SIDE, _SIDE),
    filter=st.sampled_from(["bilinear", "bicubic"]),
)
def test_bytes_as_pillow_resizes_them(
    before: tuple[int, int], after: tuple[int, int], filter: Literal["bilinear", "bicubic"]
) -> None:
    picture = _picture(*before)
    assert np.array_equal(resize_bytes(picture, after, filter), _by_pillow(picture, after, filter))


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1200, 1800), (683, 1024)),  # a photograph for SAM 1
        ((221, 333), (1024, 1024)),
        ((1900, 1080), (1024, 1024)),  # an upright clip: rows first
        ((1, 3000), (1, 64)),
        ((999, 1), (7, 1)),
        ((1, 1), (16, 16)),
    ],
)
def test_large_and_thin_pictures(
    before: tuple[int, int], after: tuple[int, int], filter: Literal["bilinear", "bicubic"]
) -> None:
    picture = _picture(*before)
    assert np.array_equal(resize_bytes(picture, after, filter), _by_pillow(picture, after, filter))


@pytest.mark.parametrize("filter", ["bilinear", "bicubic"])
def test_extremes_are_clipped_as_pillow_clips_them(filter: Literal["bilinear", "bicubic"]) -> None:
    picture = np.zeros((9, 11, 3), np.uint8)
    picture[::2, 1::3] = 255
    assert np.array_equal(resize_bytes(picture, (40, 33), filter), _by_pillow(picture, (40, 33), filter))


def test_what_has_the_size_is_left_alone_and_nothing_given_is_changed() -> None:
    picture = _picture(8, 9)
    before = picture.copy()
    assert resize_bytes(picture, (8, 9), "bilinear") is picture
    resize_bytes(picture, (3, 20), "bicubic")
    assert np.array_equal(picture, before)


def test_views_and_one_channel() -> None:
    picture = _picture(12, 10)
    turned = picture[::-1, ::2]
    assert np.array_equal(
        resize_bytes(turned, (5, 9), "bilinear"), _by_pillow(np.ascontiguousarray(turned), (5, 9), "bilinear")
    )
    grey = resize_bytes(picture[..., :1], (5, 9), "bilinear")
    assert np.array_equal(grey[..., 0], _by_pillow(picture[..., 0], (5, 9), "bilinear"))


def test_real_numbers_are_smoothed_where_they_shrink() -> None:
    stripes = torch.zeros(1, 1, 4, 64)
    stripes[..., ::2] = 1.0
    shrunk = resize_smooth(stripes, (4, 8))
    assert float((shrunk - 0.5).abs().max()) < 0.05


@pytest.mark.parametrize(
    ("size", "longest", "fits"),
    [((150, 167), 256, (230, 256)), ((1200, 1800), 1024, (683, 1024)), ((3000, 1), 1024, (1024, 1))],
)
def test_the_longest_side_fits(size: tuple[int, int], longest: int, fits: tuple[int, int]) -> None:
    assert fitting_size(*size, longest) == fits


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"filter must be one of \['bicubic', 'bilinear'\], not 'area'"):
        resize_bytes(_picture(2, 2), (2, 2), "area")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="size must be a height and a width of at least 1"):
        resize_bytes(_picture(2, 2), (0, 2), "bilinear")
