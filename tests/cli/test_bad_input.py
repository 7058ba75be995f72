"""Commands before strangers: one sentence that names the argument, nothing loaded and nothing left behind."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from PIL import Image

from parity.execution import fill
from samblocks import checkpoints
from samblocks.checkpoints import load
from samblocks.cli import main
from samblocks.cli.places import check_folder
from samblocks.predict import loading
from samblocks.predict.dataset.sources import open_source
from samblocks.predict.video.clip_writer import ClipWriter

MODEL = small_models.tracker(present=-0.5)
PICTURE = fill.integers("picture", (40, 60, 3), 0, 256).astype(np.uint8)
DEEP = PICTURE[..., 0].astype(np.uint16) * 200


def _png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def _fill(folder: Path) -> None:
    """Pictures, arrays and folders as they should not be, and `a.png` and `film`, which are right."""
    whole = _png(PICTURE)
    files = {
        "a.png": whole,
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.png": b"no picture",
        "deep.png": _png(DEEP),
        "small.png": _png(PICTURE[:20]),
        "black.png": _png(np.zeros_like(PICTURE)),
        "text.npy": b"no array",
        "film/0.png": whole,
        "film/1.png": whole,
        "film/2.png": _png(PICTURE[::-1]),
        "film/._0.png": b"what a Mac leaves",
        "sizes/0.png": whole,
        "sizes/1.png": _png(PICTURE[:20]),
        "torn/0.png": whole,
        "torn/1.png": whole[: len(whole) // 2],
        "none/notes.txt": b"",
    }
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    np.save(folder / "objects.npy", np.array([{}], dtype=object))
    np.save(folder / "letters.npy", np.full((4, 4, 3), "x"))
    np.save(folder / "tall.npy", np.zeros((1, 9, 9), np.float32))
    (folder / "cut.npy").write_bytes((folder / "letters.npy").read_bytes()[:-8])
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe")
        os.mkfifo(folder / "pipe.png")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder; every name means a small model, and a path of a file what it always means."""

    def instead(name: str, **options: Any) -> Any:
        return MODEL if name == "m" and options.get("device") in (None, "cpu") else load(name, **options)

    monkeypatch.setattr(loading, "load", instead)
    monkeypatch.setattr(checkpoints, "load", instead)
    monkeypatch.chdir(tmp_path)
    _fill(tmp_path)
    return tmp_path


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")

NUMBERS = [
    (
        "--point",
        "",
        "argument --point: '': must be 2 or 3 numbers with commas between them, X,Y or X,Y,LABEL",
    ),
    ("--point", "1;2", "argument --point: '1;2': must be 2 or 3 numbers"),
    ("--point", "1,2,", "argument --point: '1,2,': must be 2 or 3 numbers"),
    ("--point", "nan,1", "argument --point: 'nan,1': must be 2 or 3 numbers"),
    ("--point", "1e400,1", "argument --point: '1e400,1': must be 2 or 3 numbers"),
    ("--point", "1,2,0.5", "argument --point: '1,2,0.5': a label is 1 on the object or 0"),
    ("--point", "-5,3", "--point -5,3 lies outside {where}, which is 60 pixels wide and 40 high"),
    ("--point", "61,3", "--point 61,3 lies outside {where}"),
    ("--box", "1,2,3", "argument --box: '1,2,3': must be 4 numbers with commas between them, X0,Y0,X1,Y1"),
    ("--box", "1,1,inf,9", "argument --box: '1,1,inf,9': must be 4 numbers"),
    ("--box", "9,9,1,1", "argument --box: '9,9,1,1': the second corner must be right of the first"),
    ("--box", "-9,-9,0,9", "--box -9,-9,0,9 lies outside {where}"),
]
OUTPUTS = [
    ("", "argument -o/--output: it is empty"),
    ("-", "-o - would be standard output, but several files are written: name a folder"),
    ("out.mp4", "-o out.mp4 ends as a file does, but several files are written: name a folder"),
    ("text.npy", "-o text.npy is there already and no folder: name another place"),
    ("text.npy/out", "text.npy is no folder: name another place"),
    pytest.param("pipe", "-o pipe is there already and no folder", marks=needs_pipes),
]


def _refused(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    before = _content(folder)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("samblocks")
    assert err.count("\n") == 1
    assert _content(folder) == before


@pytest.mark.parametrize(("option", "value", "message"), NUMBERS)
@pytest.mark.parametrize(("command", "where"), [("segment", "a.png"), ("track", "frame 0 of film")])
def test_numbers(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    where: str,
    option: str,
    value: str,
    message: str,
) -> None:
    source = where.split()[-1]
    arguments = [command, source, option, value, "--model", "nowhere.pt", "-o", "out"]  # nothing is loaded
    _refused(folder, capsys, arguments, message.format(where=where))


@pytest.mark.parametrize(("output", "message"), OUTPUTS)
@pytest.mark.parametrize(
    "command",
    [
        ["segment", "a.png", "--point", "1,1", "--model", "nowhere.pt"],
        ["track", "film", "--point", "1,1", "--model", "nowhere.pt"],
        ["embed", "film", "--model", "nowhere.pt"],
        ["export", "nowhere.pt"],
    ],
    ids=lambda command: command[0],
)
def test_outputs(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str], output: str, message: str
) -> None:
    _refused(folder, capsys, [*command, "-o", output], message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "--point", "1,1"], "argument IMAGE: it is empty"),
        (["film", "--point", "1,1"], "film is a folder: name the pictures in it"),
        pytest.param(["pipe", "--point", "1,1"], "pipe is a pipe or a device", marks=needs_pipes),
        (
            ["cut.png", "--point", "1,1"],
            "cut.png cannot be decoded, it is damaged or too large: OSError: image",
        ),
        (["empty.png", "--point", "1,1"], "empty.png is not a picture that Pillow can read"),
        (["text.png", "--point", "1,1"], "text.png is not a picture that Pillow can read"),
        (["deep.png", "--point", "1,1"], "deep.png has mode I;16, whose white level is not known"),
        (["text.npy", "--point", "1,1"], "text.npy is no whole .npy file of numbers"),
        (["cut.npy", "--point", "1,1"], "cut.npy is no whole .npy file of numbers"),
        (["objects.npy", "--point", "1,1"], "objects.npy is no whole .npy file of numbers"),
        (["letters.npy", "--point", "1,1"], "letters.npy holds <U1; it must be numbers"),
        (
            ["a.png", "--mask", "small.png"],
            "--mask small.png has shape (20, 60), height first; it must have that",
        ),
        (["a.png", "--mask", "black.png"], "--mask black.png is empty, every pixel of it is 0"),
        (["a.png", "--mask", "cut.png"], "--mask cut.png cannot be decoded"),
        (["a.png", "--mask", "letters.npy"], "--mask letters.npy holds <U1; it must be numbers"),
        (
            ["a.png", "--mask", "tall.npy"],
            "--mask tall.npy: mask_input has shape (1, 9, 9); it must be logits [1",
        ),
        (["a.png", "--point", "1,1", "-o", "a.png"], "-o a.png would be written over a.png, which is read"),
        (["a.png", "--point", "1,1", "-o", "film/../a.png"], "would be written over a.png, which is read"),
        pytest.param(
            ["a.png", "--point", "1,1", "-o", "pipe.png"], "-o pipe.png is there already", marks=needs_pipes
        ),
        (["a.png", "--point", "1,1", "--model", ""], "argument --model: it is empty"),
        (
            ["a.png", "--point", "1,1", "--frmat", "png"],
            "samblocks segment: unrecognized arguments: --frmat png",
        ),
        (["a.png", "--point", "1,1", "--device", "abacus"], "device must be one of torch's, such as 'cpu'"),
        (["a.png", "--point", "1,1", "--device", "hpu"], "device='hpu' is none that this torch finds here"),
    ],
)
def test_segment(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    _refused(folder, capsys, ["segment", "--model", "m", "-o", "out", *arguments], message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["", "--point", "1,1"], "argument VIDEO|FOLDER: it is empty"),
        (
            ["film", "--point", "1,1@"],
            "argument --point: '1,1@': behind @ stands a frame's number, from 0 on",
        ),
        (["film", "--box", "1,1,9,9@-1"], "argument --box: '1,1,9,9@-1': behind @ stands"),
        (["film", "--point", "1,1@" + "9" * 30], "behind @ stands a frame's number"),
        (["film", "--point", "1,1@3"], "--point …@3: film has frames 0 to 2, name one of them"),
        (["film", "--box", "1,1,9,9", "--box", "1,1,8,8"], "--box: object 1 has a box on frame 0 already"),
        (["film", "--object", "cat"], "--object cat is shown nowhere"),
        (["film", "--object", "a", "--point", "1,1", "--object", "b"], "--object b is shown nowhere"),
        (["film", "--object", "", "--point", "1,1"], "argument --object: '' cannot be the name of a folder"),
        (["film", "--object", "../a", "--point", "1,1"], "'../a' cannot be the name of a folder"),
        (["film", "--object", "/tmp", "--point", "1,1"], "'/tmp' cannot be the name of a folder"),
        (["film", "--object", "..", "--point", "1,1"], "'..' cannot be the name of a folder"),
        (["film", "--object", "a\nb", "--point", "1,1"], r"'a\nb' cannot be the name of a folder"),
        (["film", "--object", "x" * 300, "--point", "1,1"], "at most 200 bytes"),
        (
            ["sizes", "--point", "1,1"],
            "1.png has 60 x 20 pixels, 0.png 60 x 40: frames of one video must be of",
        ),
        (["torn", "--point", "1,1"], "'torn/1.png' cannot be decoded, it is damaged or too large"),
        (["none", "--point", "1,1"], "video_path='none' holds no pictures"),
        (["nowhere", "--point", "1,1"], "video_path='nowhere': there is no such folder or file"),
        pytest.param(
            ["pipe", "--point", "1,1"], "video_path='pipe' is a pipe or a device", marks=needs_pipes
        ),
        (["film", "--point", "1,1", "--plot", ""], "argument --plot: it is empty"),
        (["film", "--point", "1,1", "--plot", "film/0.png"], "--plot film/0.png would lie among the frames"),
        (["film", "--point", "1,1", "--plot", "a.png/p.svg"], "a.png is no folder: name another place"),
        (["film", "--point", "1,1", "--device", "hpu"], "device='hpu' is none that this torch finds here"),
        (
            ["film", "--point", "1,1", "--mask", "a.png"],
            "samblocks track: unrecognized arguments: --mask a.png",
        ),
    ],
)
def test_track(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    _refused(folder, capsys, ["track", "--model", "m", "-o", "new/out", *arguments], message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "argument SOURCE: it is empty"),
        (["film", "--model", ""], "argument --model: it is empty"),
        (["film", "--batch", "0"], "argument --batch: '0': must be a whole number from 1 on"),
        (["film", "--shard", "-1"], "argument --shard: '-1': must be a whole number from 1 on"),
        (["film", "--workers", "x"], "argument --workers: 'x': must be a whole number from 1 on"),
        (["film", "--ray", "0"], "argument --ray: '0': must be a whole number from 1 on"),
        (["film", "--ray", "2", "--workers", "3"], "--ray says how many workers there are: give it without"),
        (["film", "--ray", "2", "--everything"], "--everything runs on this machine alone"),
        (["film", "--everything", "--batch", "3"], "takes one picture at a time: give it without --batch"),
        (["film", "--everything", "--shard", "3"], "takes one picture at a time: give it without --shard"),
        (["film", "-o", "film"], "-o film is the folder that is read: name another one"),
        (["film", "-o", "sizes/../film"], "is the folder that is read"),
        (["bytes.txt"], "bytes.txt is no list of paths, one on each line in UTF-8"),
        (["{film"], "there is nothing at {film"),
        (["{none,none}"], "{none,none} holds no picture"),
        (["train-{5..1}.tar"], "{5..1} must be names with commas between them, or numbers from the first"),
        (["train-{000..x}.tar"], "{000..x} must be names with commas between them"),
        (["train-{0..99999999999}.tar"], "{0..99999999999} must be"),
        (["train-{0..999999}.tar"], "there is nothing at train-0.tar"),
        (["film", "--key", "id"], "columns are for parquet files alone"),
        (["film", "--device", "hpu"], "device='hpu' is none that this torch finds here"),
    ],
)
def test_embed(folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00")
    _refused(folder, capsys, ["embed", "--model", "m", "-o", "out", *arguments], message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "", "-o", "out"], "argument NAME|FILE: it is empty"),
        (["export", "m", "-o", "film"], "-o film is there already: give a folder that is empty or not there"),
        (["export", "m", "-o", "m.onnx"], "-o m.onnx ends as a file does"),
        (["export", "m", "-o", "out", "--frames", "-5"], "argument --frames: '-5': must be a whole number"),
        (["export", "m", "-o", "out", "--picture", ""], "argument --picture: it is empty"),
        (["verify", ""], "argument DIR: it is empty"),
        (["verify", "film"], "film/card.json cannot be read: No such file"),
    ],
)
def test_export_and_verify(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    _refused(folder, capsys, arguments, message)


def test_braces_in_a_name_that_is_there_are_no_braces(folder: Path) -> None:
    Path("film").rename("film{0..2}")
    assert [item.key for item in open_source("film{0..2}").items] == ["0.png", "1.png", "2.png"]


def test_a_picture_that_is_none_ends_a_run_that_says_what_it_keeps(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", "a.png", "cut.png", "--model", "m", "--point", "1,1", "-o", "out"]) == 2
    err = capsys.readouterr().err
    assert "cut.png cannot be decoded" in err
    assert "; 1 of 2 pictures are done and kept" in err
    assert err.count("\n") == 1
    assert sorted(os.listdir("out")) == ["a.json", "a.mask-001.png", "a.png"]


def test_no_result_is_written_over_what_was_read_or_over_anothers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("b.mask-001.png").write_bytes(_png(PICTURE))
    _refused(
        folder,
        capsys,
        ["segment", "b.mask-001.png", "--model", "m", "--point", "1,1", "-o", "b.png"],
        "b.mask-001.png would be written over, which was read",
    )
    Path("b.png").write_bytes(_png(PICTURE))
    pictures = ["b.png", "b.mask-001.png"]
    assert main(["segment", *pictures, "--model", "m", "--point", "1,1", "-o", "out"]) == 2
    assert "or holds another picture's result: name another place; 1 of 2" in capsys.readouterr().err
    assert sorted(os.listdir("out")) == ["b.json", "b.mask-001.png", "b.png"]


def test_what_is_plainly_meant_is_done(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, shape in enumerate([(1, 1, 3), (1, 70, 3), (90, 2)]):
        Image.fromarray(np.full(shape, 9, np.uint8)).save(f"odd{number}.png")
        assert main(["segment", f"odd{number}.png", "--model", "m", "--point", "0,0", "-o", "out"]) == 0
        assert np.asarray(Image.open(f"out/odd{number}.png")).shape[:2] == shape[:2]
    assert main(["segment", "a.png", "--model", "m", "--box", "-5,-5,70,50", "-o", "A.PNG"]) == 0
    assert np.asarray(Image.open("A.PNG")).shape == PICTURE.shape
    # A mask is where a picture of any kind is not black, whatever its white level and its red channel.
    where = np.zeros((40, 60), bool)
    where[5:20, 10:40] = True
    Image.fromarray(where).save("bits.png")
    Image.fromarray(where.astype(np.uint16) * 500).save("deep_mask.png")
    Image.fromarray(where[..., None] * np.array([0, 200, 0], np.uint8)).quantize(2).save("palette.png")
    np.save("numbers.npy", where[..., None].astype(np.int32))
    shown = []
    for mask in ("bits.png", "deep_mask.png", "palette.png", "numbers.npy"):
        assert main(["segment", "a.png", "--model", "m", "--mask", mask, "-o", "masked.png"]) == 0
        shown.append(Path("masked.mask-001.png").read_bytes())
    assert main(["segment", "a.png", "--model", "m", "--mask", "a.png", "-o", "masked.png"]) == 0
    assert len(set(shown)) == 1
    assert Path("masked.mask-001.png").read_bytes() != shown[0]
    assert (
        main(["track", "film", "--model", "m", "--object", "Mütze 1.", "--point", "60,40", "-o", "out2"]) == 0
    )
    assert sorted(os.listdir("out2/masks/Mütze 1.")) == ["00000.png", "00001.png", "00002.png"]
    assert capsys.readouterr().err == ""


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(ValueError, match=r"nothing can be written into .*: name another place"):
        check_folder(tmp_path / "new" / "out")


def test_objects_of_any_name_stay_in_their_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"'\.\./\.\./a' cannot be the name of a folder"),
        ClipWriter(tmp_path / "new" / "out") as writer,
    ):
        writer.write(0, PICTURE, ["../../a"], np.ones((1, 40, 60), np.bool_))
    assert list(tmp_path.iterdir()) == []
