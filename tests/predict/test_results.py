"""Pictures to look at, and results in files."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity.execution import fill
from samblocks.predict import overlays, rle
from samblocks.predict.masks import Masks
from samblocks.predict.overlays import contact_sheet, overlay
from samblocks.predict.png import encode_png
from samblocks.predict.results import Format, write_results


def _picture(height: int, width: int) -> np.ndarray:
    return fill.integers("picture", (height, width, 3), 0, 256).astype(np.uint8)


def _masks() -> Masks:
    masks = np.zeros((2, 60, 90), bool)
    masks[0, 5:50, 10:80] = True
    masks[0, 20:30, 30:40] = False
    masks[1, 15:40, 45:70] = True
    return Masks(masks, [0.93, 0.5])


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (6, 9, 3)])
def test_png_as_pillow_reads_it(shape: tuple[int, ...]) -> None:
    picture = fill.integers("png", shape, 0, 256).astype(np.uint8)
    read = Image.open(io.BytesIO(encode_png(picture)))
    assert read.mode == ("L" if len(shape) == 2 else "RGB")
    assert np.array_equal(np.asarray(read), picture)
    with pytest.raises(ValueError, match="picture must be uint8"):
        encode_png(picture.astype(np.float32))


def test_masks_are_coloured_and_outlined_and_the_rest_is_left() -> None:
    picture, masks = _picture(60, 90), _masks()
    before = picture.copy()
    drawn = overlay(picture, masks, labels=["", ""])
    outside = ~masks.numpy().any(0)
    assert np.array_equal(drawn[outside], picture[outside])
    assert tuple(drawn[5, 10]) == overlays.colour(0)
    assert tuple(drawn[15, 45]) == overlays.colour(1)
    inner = drawn[10, 20].astype(float)
    shade = np.array(overlays.colour(0))
    assert np.allclose(inner, picture[10, 20] + 0.45 * (shade - picture[10, 20]), atol=0.51)
    assert np.array_equal(picture, before)
    assert np.array_equal(overlay((picture / 255).astype(np.float32), masks), overlay(picture, masks))
    assert not np.array_equal(overlay(picture, masks), drawn), "labels are not drawn"
    with pytest.raises(ValueError, match=r"masks are of \(60, 90\) pixels, the picture has \(5, 5\)"):
        overlay(_picture(5, 5), masks)


def test_labels_are_written_in_capitals_without_accents() -> None:
    picture, mask = _picture(200, 300), Masks(np.ones((1, 200, 300), bool))
    for one, other in (
        ("disc", "DISC"),
        ("Mütze", "MUTZE"),
        ("x" * 40, "x" * 16),
        ("犬", "?"),
        ("ﬁn", "fin"),
    ):
        assert np.array_equal(overlay(picture, mask, labels=[one]), overlay(picture, mask, labels=[other]))
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_#? "
    drawn = {overlay(picture, mask, labels=[letter]).tobytes() for letter in letters}
    assert len(drawn) == len(letters), "two letters look alike"


def test_clicks_and_boxes_are_shown() -> None:
    picture, nothing = _picture(60, 90), Masks(np.zeros((0, 60, 90), bool), [])
    clicks = [(20.0, 30.0, 1), (70.5, 10.0, 0), (-5.0, 200.0, 1), (90.0, 60.0, 0)]
    drawn = overlay(picture, nothing, points=clicks)
    red, green, _ = np.moveaxis(drawn.astype(int), -1, 0)
    assert green[30, 20] > 2 * red[30, 20]
    assert red[10, 70] > 2 * green[10, 70]
    assert red[59, 89] > 2 * green[59, 89]
    assert np.array_equal(drawn[40:, 30:60], picture[40:, 30:60])
    framed = overlay(picture, nothing, boxes=[(10, 20, 40, 50), (-9, -9, 200, 5)])
    assert (framed[[20, 50], 10:41] == 255).all()
    assert (framed[20:51, [10, 40]] == 255).all()
    assert np.array_equal(framed[21:50, 11:40], picture[21:50, 11:40])
    assert np.array_equal(framed[1:5, 1:89], picture[1:5, 1:89])
    for size in ((1, 1), (3, 2)):
        assert overlay(
            _picture(*size), Masks(np.zeros((0, *size), bool), []), boxes=[(0, 0, 9, 9)]
        ).shape == (*size, 3)


def test_small_pictures_and_empty_masks() -> None:
    for size in ((1, 1), (3, 200), (2, 2)):
        masks = Masks(np.ones((1, *size), bool), [0.5])
        assert overlay(_picture(*size), masks).shape == (*size, 3)
        assert contact_sheet(_picture(*size), masks).shape == (160, 160, 3)
        nothing = Masks(np.zeros((1, *size), bool), [0.5])
        assert np.array_equal(overlay(_picture(*size), nothing), _picture(*size))
    none = Masks(np.zeros((0, 4, 4), bool), [])
    assert np.array_equal(overlay(_picture(4, 4), none), _picture(4, 4))
    assert contact_sheet(_picture(4, 4), none).shape == (160, 160, 3)


def test_a_sheet_has_a_tile_for_each_mask() -> None:
    sheet = contact_sheet(_picture(60, 90), _masks(), tile=100, columns=1)
    assert sheet.shape == (200, 100, 3)
    assert len(np.unique(sheet[:100])) > 20
    assert len(np.unique(sheet[100:])) > 20


@pytest.mark.parametrize("format", ["png", "rle", "geojson", "npz"])
def test_files_hold_the_masks(tmp_path: Path, format: Format) -> None:
    masks = _masks()
    written = write_results(
        tmp_path / "new" / "a.png",
        _picture(60, 90),
        masks,
        {"image": "a"},
        format=format,
        sheet=True,
    )
    assert set((tmp_path / "new").iterdir()) == set(written)
    assert written[-1].name == "a.json"
    told = json.loads(written[-1].read_text())
    assert told["size"] == [60, 90]
    assert told["overlay"] == "a.png"
    assert [one["area"] for one in told["masks"]] == masks.areas.tolist()
    files = [tmp_path / "new" / name for name in told["files"]]
    if format == "png":
        found = np.stack([np.asarray(Image.open(file)) > 0 for file in files])
    elif format == "rle":
        found = np.stack([rle.decode(one) for one in json.loads(files[0].read_text())])
    elif format == "npz":
        found = np.load(files[0])["masks"]
    else:
        features = json.loads(files[0].read_text())["features"]
        assert [len(feature["geometry"]["coordinates"]) for feature in features] == [2, 1]
        found = masks.numpy()
    assert np.array_equal(found, masks.numpy())


def test_of_many_masks_there_are_numbers_alone() -> None:
    few, many = (Masks(np.repeat(_masks().numpy()[:1], count, axis=0), [0.9] * count) for count in (12, 13))
    numbered = [str(number + 1) for number in range(13)]
    picture = _picture(60, 90)
    assert np.array_equal(overlay(picture, many), overlay(picture, many, labels=numbered))
    assert not np.array_equal(overlay(picture, few), overlay(picture, few, labels=numbered[:12]))


def test_writing_is_seen_on_every_plate() -> None:
    for shade, ink in (((0, 0, 160), 255), ((250, 240, 90), 0)):
        drawn = overlay(np.full((60, 90, 3), 100, np.uint8), _masks()[1:], labels=["1"], colours=[shade])
        written = (drawn == ink).all(axis=2)
        assert written.any()
        assert not (drawn == 255 - ink).all(axis=2).any()
