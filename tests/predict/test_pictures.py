"""What is taken as a picture, and what is refused by name."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from parity.execution import fill
from samblocks.predict.pictures import as_rgb


def _bytes(*shape: int) -> np.ndarray:
    return fill.integers("picture", shape, 0, 256).astype(np.uint8)


def _file(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


_PICTURE = _bytes(5, 7, 3)


@pytest.mark.parametrize(
    "image",
    [
        _PICTURE,
        np.dstack([_PICTURE, _bytes(5, 7, 1)]),
        torch.from_numpy(_PICTURE),
        torch.from_numpy(_PICTURE).permute(2, 0, 1),
        Image.fromarray(_PICTURE),
        Image.fromarray(np.dstack([_PICTURE, _bytes(5, 7, 1)])),
        _PICTURE[::-1].copy()[::-1],
    ],
    ids=["array", "rgba", "tensor", "channels_first", "pil", "pil_rgba", "negative_strides"],
)
def test_colour_pictures(image: Any) -> None:
    found = as_rgb(image)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.array_equal(found, _PICTURE)


@pytest.mark.parametrize(
    "image",
    [
        _PICTURE[..., 0],
        _PICTURE[..., :1],
        torch.from_numpy(_PICTURE[..., 0].copy()),
        torch.from_numpy(_PICTURE[..., 0].copy())[None],
        Image.fromarray(_PICTURE[..., 0]),
        Image.fromarray(np.dstack([_PICTURE[..., 0], _PICTURE[..., 1]]), "LA"),
    ],
    ids=["two_axes", "one_channel", "tensor", "channels_first", "pil", "pil_with_opacity"],
)
@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
def test_grey_pictures(image: Any) -> None:
    assert np.array_equal(as_rgb(image), np.repeat(_PICTURE[..., :1], 3, axis=2))


def test_blue_first() -> None:
    assert np.array_equal(as_rgb(_PICTURE[..., ::-1], image_format="BGR"), _PICTURE)
    opaque = np.dstack([_PICTURE[..., ::-1], _bytes(5, 7, 1)])
    assert np.array_equal(as_rgb(opaque, image_format="BGR"), _PICTURE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_from_0_to_1(dtype: Any) -> None:
    image = (_PICTURE / 255).astype(dtype)
    found = as_rgb(image)
    assert found.dtype == np.float32
    assert np.array_equal(found, image.astype(np.float32))


def test_bfloat16_tensors() -> None:
    image = torch.from_numpy(_PICTURE / np.float32(255)).bfloat16()
    assert np.array_equal(as_rgb(image), image.float().numpy())


def test_files_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(_PICTURE).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(_PICTURE).save(tmp_path / "plain.png")
    assert np.array_equal(as_rgb(tmp_path / "plain.png"), _PICTURE)
    assert np.array_equal(as_rgb(str(tmp_path / "turned.png")), np.rot90(_PICTURE, -1))


def test_palettes_and_other_colours() -> None:
    palette = Image.fromarray(_PICTURE).quantize(8)
    assert np.array_equal(as_rgb(palette), np.asarray(palette.convert("RGB")))
    palette.info["transparency"] = bytes([0, 128, *[255] * 6])  # of which Pillow warns
    assert np.array_equal(as_rgb(palette), as_rgb(Image.fromarray(_PICTURE).quantize(8)))
    ink = Image.fromarray(_PICTURE).convert("CMYK")
    assert np.array_equal(as_rgb(ink), np.asarray(ink.convert("RGB")))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((5, 7, 3), np.uint16), r"holds uint16 from 0 to 0; it must be uint8"),
        (np.zeros((5, 7, 3), np.int64), r"holds int64"),
        (np.zeros((5, 7), np.bool_), r"holds bool"),
        (np.full((5, 7, 3), "x"), r"holds <U1; it must be numbers"),
        (np.full((5, 7, 3), 255, np.float32), r"float32 from 255 to 255; .* must be from 0 to 1"),
        (np.full((5, 7, 3), -0.1), r"float64 from -0.1 to -0.1"),
        (np.full((5, 7, 3), np.nan, np.float32), r"from nan to nan"),
        (np.zeros((3, 5, 7), np.uint8), r"shape \(3, 5, 7\).*channels are first: .*transpose"),
        (np.zeros((2, 5, 7, 3), np.uint8), r"shape \(2, 5, 7, 3\).*one at a time"),
        (np.zeros((5, 7, 2), np.uint8), r"shape \(5, 7, 2\); it must be"),
        (np.zeros((0, 7, 3), np.uint8), r"no pixels"),
        (torch.zeros(1, 3, 5, 7), r"shape \(1, 3, 5, 7\)"),
        ([[1, 2]], r"is a list; it must be"),
        (None, r"is a NoneType"),
        (Image.new("F", (3, 3)), r"has mode F"),
        (Image.new("I;16", (3, 3)), r"has mode I;16, whose white level is not known"),
    ],
)
def test_what_could_only_be_guessed_is_refused_by_name(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^frame .*{message}|^frame {message}"):
        as_rgb(image, argument="frame")


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"image='.*text.png' is not a picture that Pillow can read"):
        as_rgb(tmp_path / "text.png")
    (tmp_path / "plain.png").write_bytes(whole := _file(_PICTURE))
    assert np.array_equal(as_rgb(tmp_path / "plain.png"), _PICTURE)
    for damaged in (whole[:-40], bytes([*whole[:60], whole[60] ^ 255, *whole[61:]])):
        (tmp_path / "damaged.png").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"image='.*damaged.png' cannot be decoded, it is damaged"):
            as_rgb(tmp_path / "damaged.png")
    with pytest.raises(FileNotFoundError):
        as_rgb(tmp_path / "missing.png")
    Image.new("I;16", (3, 3)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"image='.*deep.png' has mode I"):
        as_rgb(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="image_format must be 'RGB' or 'BGR', not 'GRB'"):
        as_rgb(_PICTURE, image_format="GRB")  # type: ignore[arg-type]


def test_arrays_and_tensors_need_no_pillow() -> None:
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "import numpy as np\n"
        "from samblocks.predict.pictures import as_rgb\n"
        "from samblocks.predict.resize import resize_bytes\n"
        "picture = as_rgb(np.zeros((4, 4, 3), np.uint8))\n"
        "assert resize_bytes(picture, (2, 2), 'bilinear').shape == (2, 2, 3)\n"
        "try:\n"
        "    as_rgb('photo.jpg')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'samblocks[images]'" in done.stdout
