"""Pictures to look at: masks in colour on their picture, with outlines and labels, and sheets of many masks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import Final
from unicodedata import combining, normalize

import numpy as np
from numpy.typing import NDArray

from samblocks.predict.masks import Masks
from samblocks.predict.pictures import Pixels
from samblocks.predict.resize import fitting_size, resize_bytes

Bytes = NDArray[np.uint8]
Colour = tuple[int, int, int]

_GLYPHS: Final = (
    "075557 126227 271747 371717 455711 574717 674757 771222 875757 975717 .00002 -00700 _00007 #57575 ?61202 "
    "A25755 B65656 C34443 D65556 E74647 F74644 G34553 H55755 I72227 J11152 K55655 L44447 M57755 "
    "N65555 O25552 P65644 Q25563 R65655 S34216 T72222 U55557 V55552 W55775 X55255 Y55222 Z71247"
)
_FONT: Final = {" ": (0,) * 5} | {glyph[0]: tuple(map(int, glyph[1:])) for glyph in _GLYPHS.split()}
"""Rows of three dots, the leftmost of most weight: all that labels need."""

_LONGEST: Final = 16
"""Letters that a label has at most."""

_TURN: Final = (
    0.381966  # of the colour circle, from one mask to the next: the golden angle keeps neighbours apart
)
_FEW: Final = 12  # masks, of which an overlay has room for the scores
_DARK: Final = 110  # of 255: the brightness of a plate below which its writing is white
_PAPER: Final = 24  # grey level between the tiles of a sheet
_CLICKS: Final = ((230, 40, 40), (30, 170, 60))  # on the background, on the object


def colour(number: int) -> Colour:
    """A bright colour for a mask; those of neighbouring numbers are far from each other."""
    red, green, blue = colorsys.hsv_to_rgb(0.58 + number * _TURN, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def overlay(
    picture: Pixels,
    masks: Masks,
    *,
    labels: Sequence[str] | None = None,
    colours: Sequence[Colour] | None = None,
    opacity: float = 0.45,
    points: Sequence[tuple[float, float, int]] = (),
    boxes: Sequence[tuple[float, float, float, float]] = (),
) -> Bytes:
    """Masks in colour on their picture, each with its outline and a label, and what was clicked.

    Args:
        picture: [H, W, 3], uint8, or floating-point from 0 to 1.
        masks: of that picture; small ones are drawn over large ones.
        labels: one for each mask, in capitals without accents, cut after 16 letters; by default its number, from 1,
            and its score, or of more than 12 masks the number alone; an empty one is not drawn.
        colours: one for each mask.
        opacity: of the masks.
        points: clicks as x, y and label, 1 on the object (green) and 0 on the background (red).
        boxes: left, upper, right and lower side of each.

    Returns:
        [H, W, 3], uint8.

    Raises:
        ValueError: the masks have another size.

    >>> overlay(np.zeros((8, 8, 3), np.uint8), Masks(np.eye(8))).shape
    (8, 8, 3)
    """
    if masks.size != picture.shape[:2]:
        raise ValueError(f"masks are of {masks.size} pixels, the picture has {tuple(picture.shape[:2])}")
    levels = picture if picture.dtype == np.uint8 else np.rint(picture * 255)
    drawn = levels.astype(np.float32)
    width = max(1, round(max(masks.size) / 500))
    chosen = [colour(number) for number in range(len(masks))] if colours is None else list(colours)
    order = np.argsort(-masks.areas, kind="stable").tolist()
    for number in order:
        mask, shade = masks.numpy()[number], np.array(chosen[number], np.float32)
        drawn[mask] += opacity * (shade - drawn[mask])
        drawn[mask & ~_eroded(mask, width)] = shade
    canvas = np.rint(drawn).clip(0, 255).astype(np.uint8)
    scale = max(1, round(max(masks.size) / 300))
    for number in order:
        text = _label(masks, number, scores=len(masks) <= _FEW) if labels is None else labels[number]
        if text and masks.areas[number]:
            _write(canvas, text, _inside(masks.numpy()[number]), chosen[number], scale)
    for box in boxes:
        _frame(canvas, box, width)
    for x, y, label in points:
        _disc(canvas, x, y, _CLICKS[label > 0], 2 + 2 * scale)
    return canvas


def contact_sheet(picture: Pixels, masks: Masks, *, tile: int = 160, columns: int = 8) -> Bytes:
    """Every mask by itself: its part of the picture, the rest darkened, with its label.

    Args:
        picture: [H, W, 3], uint8, or floating-point from 0 to 1.
        masks: of that picture.
        tile: side of a tile in pixels.
        columns: tiles in a row, at most.

    Returns:
        [H', W', 3], uint8; a single dark tile where there is no mask.
    """
    levels = (picture if picture.dtype == np.uint8 else np.rint(picture * 255)).astype(np.uint8)
    across = max(1, min(columns, len(masks)))
    down = max(1, -(-len(masks) // across))
    sheet = np.full((down * tile, across * tile, 3), _PAPER, np.uint8)
    for number, (left, top, right, bottom) in enumerate(masks.boxes.astype(int).tolist()):
        part = np.s_[top : bottom + 1, left : right + 1]
        mask = masks.numpy()[number][part]
        shown = np.where(mask[..., None], levels[part], levels[part] // 4)
        height, width = fitting_size(mask.shape[0], mask.shape[1], tile - 8)
        row, column = divmod(number, across)
        y, x = row * tile + (tile - height) // 2, column * tile + (tile - width) // 2
        sheet[y : y + height, x : x + width] = resize_bytes(shown, (height, width), "bilinear")
        corner = (row * tile + 6, column * tile + 6)
        _write(sheet, _label(masks, number), corner, colour(number), 2, centred=False)
    return sheet


def _label(masks: Masks, number: int, *, scores: bool = True) -> str:
    if masks.scores is None or not scores:
        return f"{number + 1}"
    return f"{number + 1} {masks.scores[number]:.2f}"


def _eroded(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """What is farther than `width` pixels from the mask's edge, along rows and columns."""
    padded = np.pad(mask, width)
    inner = mask.copy()
    for step in range(1, width + 1):
        for axis in (0, 1):
            for shift in (step, -step):
                inner &= np.roll(padded, shift, axis)[width:-width, width:-width]
    return inner


def _disc(canvas: Bytes, x: float, y: float, shade: Colour, radius: int) -> None:
    """A disc with a white rim."""
    rows, columns = np.ogrid[: canvas.shape[0], : canvas.shape[1]]
    distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
    canvas[distance <= radius] = 255
    canvas[distance <= 0.7 * radius] = shade


def _frame(canvas: Bytes, box: tuple[float, float, float, float], width: int) -> None:
    """A white frame, as far as it lies on the canvas."""
    height, across = canvas.shape[:2]
    left, right = (min(max(round(side), 0), across - 1) for side in (box[0], box[2]))
    top, bottom = (min(max(round(side), 0), height - 1) for side in (box[1], box[3]))
    inner = canvas[top + width : bottom + 1 - width, left + width : right + 1 - width].copy()
    canvas[top : bottom + 1, left : right + 1] = 255
    canvas[top + width : top + width + inner.shape[0], left + width : left + width + inner.shape[1]] = inner


def _inside(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """A pixel (y, x) of the mask, in the middle of its longest run in the row that halves its area."""
    row = int(np.searchsorted(mask.sum(1).cumsum(), mask.sum() / 2))
    edges = np.flatnonzero(np.diff(np.pad(mask[row].astype(np.int8), 1)))
    if not len(edges):
        row = int(np.flatnonzero(mask.any(1))[0])
        edges = np.flatnonzero(np.diff(np.pad(mask[row].astype(np.int8), 1)))
    begins, ends = edges[::2], edges[1::2]
    longest = int((ends - begins).argmax())
    return row, int(begins[longest] + ends[longest]) // 2


def _write(
    canvas: Bytes, text: str, place: tuple[int, int], shade: Colour, scale: int, *, centred: bool = True
) -> None:
    """Write a label on a plate of a colour; what does not fit on the canvas is moved onto it, or cut."""
    # Accents stand apart from their letters then, and are left out with whatever else has no dots.
    plain = [letter for letter in normalize("NFKD", text.upper()) if not combining(letter)][:_LONGEST]
    rows = np.array([[_FONT.get(letter, _FONT["?"])[row] for letter in plain] for row in range(5)])
    dots = np.stack([rows >> 2 & 1, rows >> 1 & 1, rows & 1, np.zeros_like(rows)], axis=2).reshape(5, -1)[
        :, :-1
    ]
    plate = np.pad(dots.astype(bool), 1).repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = plate.shape
    y, x = (place[0] - height // 2, place[1] - width // 2) if centred else place
    y, x = max(0, min(y, canvas.shape[0] - height)), max(0, min(x, canvas.shape[1] - width))
    under = canvas[y : y + height, x : x + width]
    ink = plate[: under.shape[0], : under.shape[1], None]
    bright = float(np.dot(shade, (0.299, 0.587, 0.114)))
    under[:] = np.where(ink, np.uint8(255 * (bright < _DARK)), np.array(shade, np.uint8))
