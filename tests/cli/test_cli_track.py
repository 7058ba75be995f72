"""`samblocks track`: what it writes, what it says, and what is left when it is stopped."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import small_models
import torch
from PIL import Image

from samblocks.cli import main
from samblocks.predict import VideoPredictor
from samblocks.predict.video.clip_writer import ClipWriter, painted
from samblocks.predict.video.plots import Curves

MODEL = small_models.tracker(present=-0.5)


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of six pictures, beside which a command works; every model is the small one."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(6):
        picture = np.random.RandomState(number // 2).randint(0, 256, (5, 7, 3)).astype(np.uint8)
        Image.fromarray(picture.repeat(8, axis=0).repeat(8, axis=1)).save(folder / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("samblocks.checkpoints.load", lambda *args, **kwargs: MODEL)
    return folder


def _masks(folder: str, obj_id: str) -> dict[int, np.ndarray]:
    files = sorted(Path(folder, "masks", obj_id).iterdir())
    return {int(file.stem): np.asarray(Image.open(file)) for file in files}


def test_masks_and_an_overlay_are_written(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["--point", "20,20", "--point", "50,30,0", "--object", "cat", "--box", "10,10,40,36@2"]
    assert main(["track", "frames", "--model", "any", *said, "-o", "out"]) == 0
    out, err = capsys.readouterr()
    assert out == "out: 6 frames, 2 objects\n"
    assert err == ""
    predictor = VideoPredictor(MODEL)
    state = predictor.init_state(clip)
    predictor.add_new_points_or_box(state, 0, "1", [[20, 20], [50, 30]], [1, 0])
    predictor.add_new_points_or_box(state, 2, "cat", box=[10, 10, 40, 36])
    one, cat = _masks("out", "1"), _masks("out", "cat")
    for frame, _, masks in predictor.propagate_in_video(state):
        assert np.array_equal(one[frame] > 0, (masks[0, 0] > 0).numpy())
        assert np.array_equal(cat[frame] > 0, (masks[1, 0] > 0).numpy())
    av = pytest.importorskip("av")
    with av.open("out/overlay.mp4") as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [frame.shape for frame in frames] == [(40, 56, 3)] * 6


def test_without_pyav_the_overlay_is_pictures(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["track", "frames", "--model", "any", "--point", "20,20@4", "-o", "out"]) == 0
    assert sorted(os.listdir("out/overlay")) == ["00004.png", "00005.png"]
    shown, mask = np.asarray(Image.open("out/overlay/00004.png")), _masks("out", "1")[4] > 0
    pixels = np.asarray(Image.open(clip / "4.png"))
    assert mask.any()
    assert np.array_equal(shown, painted(pixels, [1], mask[None]))
    assert not np.array_equal(shown, pixels)


def test_both_ways_reach_all_frames(clip: Path) -> None:
    said = ["--point", "20,20@3", "--both-ways"]
    assert main(["track", "frames", "--model", "any", *said, "-o", "out"]) == 0
    assert list(_masks("out", "1")) == list(range(6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to track"),
        (["--point", "1"], "X,Y"),
        (["--point", "1,2,5"], "a label is 1 on the object or 0"),
        (["--point", "1,2@x"], "frame's number"),
        (["--box", "1,2,3"], "4 numbers"),
        (["--point", "1,2@9"], "frames 0 to 5"),
        (["--point", "1;2"], "commas"),
    ],
)
def test_errors_are_one_sentence_and_leave_nothing(
    clip: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["track", "frames", "--model", "any", *arguments, "-o", "out"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert os.listdir() == ["frames"]


def test_a_folder_with_something_in_it_is_left_alone(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "frames", "--model", "any", "--point", "1,2", "-o", "frames"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["track", "nowhere", "--model", "any", "--point", "1,2", "-o", "out"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert os.listdir() == ["frames"]
    assert len(os.listdir("frames")) == 6


def test_what_is_done_is_kept_when_it_is_stopped(
    clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ClipWriter.write

    def stopped(self: ClipWriter, frame: int, *args: object) -> None:
        if frame == 3:
            raise KeyboardInterrupt
        write(self, frame, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(ClipWriter, "write", stopped)
    assert main(["track", "frames", "--model", "any", "--point", "20,20", "-o", "out"]) == 130
    assert capsys.readouterr().err == "samblocks: interrupted, 3 of 6 frames are in out\n"
    assert list(_masks("out", "1")) == [0, 1, 2]
    assert sorted(os.listdir()) == ["frames", "out"]


def test_nothing_is_left_when_a_frame_cannot_be_read(
    clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(ClipWriter, "write", broken)
    assert main(["track", "frames", "--model", "any", "--point", "20,20", "-o", "out"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert os.listdir() == ["frames"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_an_empty_folder_is_filled_and_a_link_to_it_too(clip: Path) -> None:
    Path("empty").mkdir()
    Path("link").symlink_to("empty")
    assert main(["track", "frames", "--model", "any", "--point", "20,20@4", "-o", "link"]) == 0
    assert list(_masks("empty", "1")) == [4, 5]
    assert sorted(os.listdir()) == ["empty", "frames", "link"]


def test_nothing_is_left_when_the_end_fails(
    clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(ClipWriter, "_finish", broken)
    assert main(["track", "frames", "--model", "any", "--point", "20,20", "-o", "new/out"]) == 2
    assert "the disk is full" in capsys.readouterr().err
    assert os.listdir() == ["frames"]


def test_a_plot_of_areas_scores_memory_and_drift(
    clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    drawn: list[Curves] = []
    save = Curves.save
    monkeypatch.setattr(Curves, "save", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k)))
    said = ["--point", "20,20", "--object", "cat", "--box", "10,10,40,36", "--plot", "plots/out.png"]
    assert main(["track", "frames", "--model", "any", *said, "--beside-float64", "-o", "out"]) == 0
    [curves] = drawn
    for obj_id in ("1", "cat"):
        masks = _masks("out", obj_id)
        assert list(curves.scores[obj_id]) == list(curves.areas[obj_id]) == list(range(6))
        for frame, mask in masks.items():
            assert curves.areas[obj_id][frame] == pytest.approx(100 * (mask > 0).mean())
    assert list(curves.errors) == list(range(6))
    assert (
        0 < max(curves.errors.values()) < 1e-2
    )  # a memory in bfloat16 rounds anew what differs in float32's last bit
    assert max(curves.flips.values()) < 5
    assert np.asarray(Image.open("plots/out.png")).shape[:2] == (984, 1080)
    for wrong, why in (
        (["--plot", "x.txt"], "x.txt: a plot is a file that ends in one of .png, .svg, .pdf"),
        (["--beside-float64"], "--beside-float64 draws drift: name the plot's file by --plot"),
    ):
        assert main(["track", "frames", "--model", "any", "--point", "1,2", *wrong, "-o", "new"]) == 2
        assert why in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["track", "frames", "--model", "any", "--point", "1,2", "--plot", "x.png", "-o", "new"]) == 2
    assert "a plot needs matplotlib: pip install 'samblocks[plots]'" in capsys.readouterr().err


def test_drift_is_measured() -> None:
    curves = Curves()
    truth = torch.tensor([[[[4.0, -4.0], [4.0, -4.0]]]])
    curves.add(0, [1], truth.clone(), {}, truth)
    curves.add(1, [1], truth * torch.tensor([1.0, -1.0]), {}, truth)
    assert curves.errors == {0: 0.0, 1: pytest.approx(2**0.5)}
    assert curves.flips == {0: 0.0, 1: 50.0}
    assert curves.areas == {1: {0: 50.0, 1: 100.0}}
