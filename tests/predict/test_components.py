"""Components against a flood fill written out, whose order is that of blocks; OpenCV's are compared in a live test."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from samblocks.predict.components import (
    clean_logits,
    connected_components,
    fill_holes,
    remove_small_regions,
)


def flooded(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and areas by visiting every pixel's neighbours, components by their first 2 x 2 block."""
    height, width = mask.shape
    labels, areas = np.zeros(mask.shape, int), np.zeros(mask.shape, int)
    found = 0
    for y0, x0, dy, dx in product(range(0, height, 2), range(0, width, 2), range(2), range(2)):
        y, x = y0 + dy, x0 + dx
        if y >= height or x >= width or not mask[y, x] or labels[y, x]:
            continue
        found += 1
        component, todo = [], [(y, x)]
        labels[y, x] = found
        while todo:
            y, x = todo.pop()
            component.append((y, x))
            for v, u in product(range(max(y - 1, 0), y + 2), range(max(x - 1, 0), x + 2)):
                if v < height and u < width and mask[v, u] and not labels[v, u]:
                    labels[v, u] = found
                    todo.append((v, u))
        for place in component:
            areas[place] = len(component)
    return labels, areas


def check(masks: Tensor) -> None:
    found = connected_components(masks)
    assert found.labels.dtype == found.areas.dtype == torch.int32
    assert found.labels.shape == found.areas.shape == masks.shape
    height, width = masks.shape[-2:]
    for mask, labels, areas in zip(
        masks.reshape(-1, height, width),
        found.labels.reshape(-1, height, width),
        found.areas.reshape(-1, height, width),
        strict=True,
    ):
        expected = flooded(mask.numpy())
        assert np.array_equal(labels.numpy(), expected[0])
        assert np.array_equal(areas.numpy(), expected[1])


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 17), st.integers(1, 17)),
    st.floats(0.05, 0.95),
    st.integers(0, 2**31),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_components_of_random_masks(shape: tuple[int, int, int], share: float, seed: int) -> None:
    check(torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share)


def snake(height: int, width: int) -> Tensor:
    """One path that goes there and back through every second row, the longest way between two pixels."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


def combs(height: int, width: int) -> Tensor:
    """Teeth that only the last row joins."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[:, ::2] = True
    mask[-1] = True
    return mask


@pytest.mark.parametrize("flip", [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (31, 29), (32, 28)])
def test_long_ways_and_thin_masks(size: tuple[int, int], flip: tuple[int, ...]) -> None:
    diagonal = torch.eye(*size, dtype=torch.bool)
    check(torch.stack([mask.flip(flip) for mask in (snake(*size), combs(*size), diagonal, ~diagonal)]))


def test_masks_of_any_kind_and_shape() -> None:
    picture = torch.rand(2, 3, 8, 7) < 0.4
    found = connected_components(picture)
    for other in (picture.to(torch.uint8), picture.float() * -2.5, picture.transpose(2, 3).contiguous().mT):
        assert torch.equal(connected_components(other).labels, found.labels)
    for shape in ((0, 5, 5), (2, 0, 5), (2, 5, 0)):
        labels, areas = connected_components(torch.zeros(shape))
        assert labels.shape == areas.shape == shape
    with pytest.raises(ValueError, match="found 1 dimension"):
        connected_components(torch.zeros(3))


@pytest.mark.gpu
def test_components_on_a_gpu() -> None:
    masks = torch.rand(4, 333, 257) < 0.45
    here, there = connected_components(masks), connected_components(masks.cuda())
    assert torch.equal(here.labels, there.labels.cpu())
    assert torch.equal(here.areas, there.areas.cpu())


def picture(text: str) -> Tensor:
    return torch.tensor([[1.5 if c == "#" else -2.5 for c in row] for row in text.split()])


def test_holes_of_up_to_an_area_are_filled() -> None:
    mask = picture("######## #.##..## ######## ##....## ########")
    for max_area, holes in ((0, 0), (0.5, 0), (1, 1), (1.5, 1), (2, 3), (3.9, 3), (4, 7), (100, 7)):
        filled = fill_holes(mask, max_area)
        assert torch.equal(filled == 0.1, (mask < 0) & (filled > 0))
        assert (filled == 0.1).sum() == holes
        assert torch.equal(filled[filled != 0.1], mask[filled != 0.1])


def test_background_at_the_border_counts_and_the_threshold_is_background() -> None:
    logits = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    assert fill_holes(logits, 1)[0, 0] == torch.tensor(0.1)
    assert torch.equal(fill_holes(logits, 1, threshold=-1.0), logits)
    assert torch.equal(fill_holes(logits, 1, threshold=1.0), logits)  # one component of four
    assert (fill_holes(logits, 4, threshold=1.0, fill=9.0) == 9.0).all()


def test_sprinkles_are_those_of_the_mask_before_holes_were_filled() -> None:
    ring = torch.full((5, 5), -3.0)
    ring[1:4, 1:4] = 2.0
    ring[2, 2] = -4.0
    cleaned = clean_logits(ring, 1, 8)
    # The ring has 8 pixels, with its hole filled it would have 9.
    assert cleaned[2, 2] == 10.0
    assert (cleaned[1:4, 1:4] == -10.0).sum() == 8
    assert torch.equal(cleaned[0], ring[0])
    assert torch.equal(clean_logits(ring, 1, 7)[1], ring[1])
    assert clean_logits(ring, 1, 0)[2, 2] == 10.0
    assert clean_logits(ring, 0, 8)[2, 2] == -4.0
    assert torch.equal(clean_logits(ring, 0, 0), ring)


def test_cleaning_at_another_threshold_and_of_many_masks_at_once() -> None:
    logits = torch.randn(3, 2, 13, 11, generator=torch.Generator().manual_seed(1))
    logits += torch.linspace(-1.0, 2.0, 11)  # sprinkles on the left, holes on the right
    before = logits.clone()
    cleaned = clean_logits(logits, 3, 2, threshold=0.5)
    assert torch.equal(logits, before)
    assert set(cleaned[cleaned != logits].tolist()) == {10.5, -9.5}
    for index in product(range(3), range(2)):
        assert torch.equal(cleaned[index], clean_logits(logits[index], 3, 2, threshold=0.5))
        holes = flooded(logits[index].numpy() <= 0.5)[1]
        assert np.array_equal((cleaned[index] == 10.5).numpy(), (holes > 0) & (holes <= 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_cleaning_keeps_the_dtype(dtype: torch.dtype) -> None:
    assert clean_logits(torch.ones(2, 2, dtype=dtype), 1, 9).dtype == dtype


def test_small_regions_are_smaller_than_the_area_and_one_island_stays() -> None:
    mask = picture("#..#### #...... ..##..#") > 0  # islands of 2, 4, 2 and 1 pixels
    for area, left in ((1, 9), (2, 8), (3, 4), (4, 4), (5, 4), (99, 4)):
        kept, changed = remove_small_regions(mask, area, "islands")
        assert (int(kept.sum()), changed) == (left, area > 1)
    # Two are largest: the first one stays.
    kept, changed = remove_small_regions(picture("##..## ...... ..##..") > 0, 3, "islands")
    assert kept.nonzero().tolist() == [[0, 0], [0, 1]]
    assert changed


def test_small_holes_are_filled_up_to_the_border() -> None:
    mask = picture("#.# ### #..") > 0
    for area, left in ((1, 6), (2, 7), (3, 9)):
        filled, changed = remove_small_regions(mask, area, "holes")
        assert (int(filled.sum()), changed) == (left, area > 1)


def test_masks_with_nothing_or_everything_in_them() -> None:
    for mode in ("holes", "islands"):
        for mask in (torch.zeros(3, 4), torch.ones(3, 4)):
            kept, changed = remove_small_regions(mask, 1, mode)
            assert torch.equal(kept, mask > 0)
            assert not changed
    assert remove_small_regions(torch.zeros(3, 4), 13, "holes")[0].all()
    assert remove_small_regions(torch.ones(3, 4), 13, "islands")[0].all()  # the largest stays
    with pytest.raises(ValueError, match="'holes' or 'islands', found 'dots'"):
        remove_small_regions(torch.ones(3, 4), 1, "dots")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[1, 3, 4\]"):
        remove_small_regions(torch.ones(1, 3, 4), 1, "holes")
