"""Run lengths against the format's rules written out; pycocotools itself is asked in a live test."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.workers.client import interpreter
from parity.workers.one_request import ask
from samblocks.predict import rle
from samblocks.predict.rle import RLE


def runs(mask: np.ndarray) -> list[int]:
    counts, current = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if mask[row, column] != current:
                counts.append(0)
                current = not current
            counts[-1] += 1
    return counts


def text(counts: list[int]) -> str:
    letters = ""
    for place, count in enumerate(counts):
        rest = count - counts[place - 2] if place > 2 else count
        while True:
            piece, rest = rest % 32, rest // 32
            done = rest == (-1 if piece >= 16 else 0)
            letters += chr(48 + piece + (0 if done else 32))
            if done:
                break
    return letters


def box(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return [0, 0, 0, 0]
    x, y = int(columns.min()), int(rows.min())
    return [x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1]


def drawn(number: int, height: int, width: int, share: float, seed: int) -> np.ndarray:
    """Some pixels at random, some in blocks, so that there are short runs and long ones."""
    draw = np.random.default_rng(seed)
    masks = draw.random((number, height, width)) < share
    masks[0, : height // 2] = True
    return masks


SHARES = st.sampled_from([0.0, 0.01, 0.3, 0.9, 1.0])
SIDE = st.integers(1, 40)


@given(st.integers(1, 3), SIDE, SIDE, SHARES, st.integers(0, 2**31))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_masks_go_there_and_back(number: int, height: int, width: int, share: float, seed: int) -> None:
    masks = drawn(number, height, width, share, seed)
    found = rle.encode(masks)
    assert found == rle.encode(torch.from_numpy(masks))
    for mask, one in zip(masks, found, strict=True):
        assert one == {"size": [height, width], "counts": runs(mask)}
        short = rle.compress(one)
        assert short == {"size": [height, width], "counts": text(runs(mask))}
        as_bytes: RLE = {"size": [height, width], "counts": text(runs(mask)).encode()}
        assert rle.decompress(short) == rle.decompress(as_bytes) == rle.decompress(one) == one
        assert rle.compress(as_bytes) == short
        for form in (one, short, as_bytes):
            assert np.array_equal(rle.decode(form), mask)
            assert rle.area(form) == mask.sum()
            assert rle.to_bbox(form) == box(mask)


def test_known_encodings() -> None:
    # Made by hand: 16 and 17 take two characters, for their fifth bit is no sign; -3 takes one; 1000 takes three.
    for counts, letters in (
        ([4], "4"),
        ([0, 16], "0`0"),
        ([10, 4, 5, 4, 22], ":450a0"),
        ([1, 7, 9, 4], "179M"),
        ([1000, 1], "Xo01"),
        ([0, 1, 40, 1, 8], "01X10PO"),
    ):
        known: RLE = {"size": [sum(counts), 1], "counts": counts}
        assert rle.compress(known)["counts"] == letters
        assert rle.decompress({"size": [sum(counts), 1], "counts": letters})["counts"] == counts


def test_a_decoded_mask_is_a_view_of_columns() -> None:
    mask = rle.decode({"size": [2, 3], "counts": [1, 3, 2]})
    assert mask.tolist() == [[False, True, False], [True, True, False]]
    assert mask.dtype == bool
    assert mask.T.flags.c_contiguous


def test_no_masks_and_no_pixels() -> None:
    assert rle.encode(np.zeros((0, 3, 4))) == []
    assert rle.encode(np.zeros((2, 0, 4))) == [{"size": [0, 4], "counts": [0]}] * 2
    assert rle.decode({"size": [0, 4], "counts": []}).shape == (0, 4)
    assert rle.to_bbox({"size": [2, 2], "counts": [1, 0, 3]}) == [0, 0, 0, 0]
    assert rle.to_bbox({"size": [4, 2], "counts": [1, 0, 4, 2, 1]}) == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2], "add up to 2 x 2 = 4 pixels, found 2 that add up to 3"),
        ([6, -2], "add up to 4"),
        ("1", "found 1 that add up to 1"),
        ("X", "the last of which ends a number"),
        ("4 ", "from '0' to 'o'"),
        (b"4\xff", "from '0' to 'o'"),
        ("X" * 12 + "0", "more than 12 characters"),
    ],
)
def test_damaged_counts_are_refused(counts: list[int] | str | bytes, message: str) -> None:
    for read in (rle.decode, rle.area, rle.to_bbox, rle.compress, rle.decompress):
        with pytest.raises(ValueError, match=message):
            read({"size": [2, 2], "counts": counts})


def test_one_mask_is_no_batch() -> None:
    with pytest.raises(ValueError, match=r"found \[2, 2\]: give one mask as mask\[None\]"):
        rle.encode(np.ones((2, 2)))


@pytest.mark.live
def test_pycocotools_writes_and_reads_the_same() -> None:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    draw = np.random.default_rng(0)
    masks = {
        f"{trial}": drawn(3, height, width, draw.choice([0.0, 0.01, 0.3, 0.9, 1.0]), trial)
        for trial, (height, width) in enumerate(draw.integers(1, 60, (200, 2)).tolist())
    }
    tensors = {name: torch.from_numpy(mask) for name, mask in masks.items()}
    theirs, _ = ask("pycocotools", python, "parity.references.common.coco", {}, tensors)
    if "missing" in theirs:
        pytest.skip(f"the references' environment has no pycocotools: {theirs['missing']}")
    for name, mask in masks.items():
        ours = [rle.compress(one) for one in rle.encode(mask)]
        assert [one["counts"] for one in ours] == theirs[name]["counts"]
        assert [rle.area(one) for one in ours] == theirs[name]["areas"]
        assert [rle.to_bbox(one) for one in ours] == theirs[name]["boxes"]
