"""Where a video's frames come from, and in what form the model gets them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from parity.execution import fill
from samblocks.predict.resize import resize_bytes
from samblocks.predict.video.clips import Array, Stream
from samblocks.predict.video.sources import open_clip
from samblocks.predict.video.tracked import TrackedFrames

SIDE = 32


def _frames(count: int = 3) -> np.ndarray:
    return fill.integers("clip", (count, 20, 30, 3), 0, 256).astype(np.uint8)


def test_frames_are_resized_as_bytes_and_normalised() -> None:
    [frame] = _frames(1)
    image = open_clip(frame[None], SIDE).image(0)
    pixels = np.asarray(Image.fromarray(frame).resize((SIDE, SIDE)))
    expected = torch.from_numpy(pixels / 255.0).permute(2, 0, 1).float()
    expected -= torch.tensor((0.485, 0.456, 0.406))[:, None, None]
    expected /= torch.tensor((0.229, 0.224, 0.225))[:, None, None]
    assert image.dtype == torch.float32
    assert torch.equal(image, expected)


def test_a_folder_is_read_in_natural_order_whatever_the_names(tmp_path: Path) -> None:
    frames = _frames(4)
    names = ["take2.png", "take10.PNG", "take10b.bmp", "take9.png"]
    for name, frame in zip(names, frames, strict=True):
        Image.fromarray(frame).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no frame")
    clip = open_clip(str(tmp_path), SIDE)
    assert clip.count == 4
    assert (clip.height, clip.width) == (20, 30)
    for number, index in enumerate((0, 3, 1, 2)):
        assert np.array_equal(clip.resized(number), resize_bytes(frames[index], (SIDE, SIDE), "bicubic"))


def test_a_folder_does_not_turn_pictures_as_upstream_does_not(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_frames()[0]).save(tmp_path / "0.jpg", exif=exif)
    clip = open_clip(tmp_path, SIDE)
    assert (clip.height, clip.width) == (20, 30)


def test_arrays_volumes_lists_and_iterators_are_the_same_frames() -> None:
    frames = _frames()
    grey = frames[..., 0]
    for source in (frames, torch.from_numpy(frames), list(frames), iter(frames), frames / np.float32(255)):
        clip = open_clip(source, SIDE)
        assert [clip.has(number) for number in range(4)] == [True, True, True, False]
        for number, frame in enumerate(frames):
            assert np.array_equal(clip.resized(number), resize_bytes(frame, (SIDE, SIDE), "bicubic"))
    volume = open_clip(grey, SIDE)
    assert np.array_equal(volume.resized(1), open_clip(np.stack([grey] * 3, -1), SIDE).resized(1))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((0, 4, 4, 3), np.uint8), "no frames"),
        (np.zeros((4, 4), np.uint8), r"\(T, H, W, C\)"),
        (np.zeros((2, 4, 4), np.int16), "int16"),
        (iter(()), "no frames"),
        (b"ftyp", "bytes"),
        (7, "int"),
    ],
)
def test_what_is_no_video_is_refused(source: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_clip(source, SIDE).resized(0)


def test_missing_and_empty_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_clip(tmp_path / "nowhere", SIDE)
    with pytest.raises(ValueError, match="holds no pictures"):
        open_clip(tmp_path, SIDE)
    (tmp_path / "0.png").write_text("text")
    with pytest.raises(ValueError, match="not a picture"):
        open_clip(tmp_path, SIDE)


def test_frames_of_several_sizes_are_refused(tmp_path: Path) -> None:
    for number, size in enumerate(((20, 30), (20, 31))):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    with pytest.raises(ValueError, match="one size"):
        open_clip(tmp_path, SIDE)
    with pytest.raises(ValueError, match="one size"):
        open_clip([np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)], SIDE).resized(1)


@pytest.mark.parametrize("frame", [-1, 3, True, 1.0, "1"])
def test_frames_outside_are_refused(frame: int) -> None:
    with pytest.raises(ValueError, match="frame_idx"):
        open_clip(_frames(), SIDE).check(frame)


def test_a_stream_is_read_no_further_than_asked_and_lets_go() -> None:
    taken = []

    def camera() -> Iterator[np.ndarray]:
        for number, frame in enumerate(_frames(9)):
            taken.append(number)
            yield frame

    clip = open_clip(camera(), SIDE)
    assert isinstance(clip, Stream)
    assert taken == [0]
    assert clip.count is None
    clip.resized(4)
    assert taken[-1] == 4
    clip.release(4, but={1})
    assert sorted(clip.held) == [1, 4]
    assert clip.first == 4
    with pytest.raises(ValueError, match=r"frame 2 .*history='all'"):
        clip.resized(2)
    assert not clip.has(9)
    assert clip.count == 9
    kept = open_clip(iter(_frames(3)), SIDE, keep=True)
    assert kept.has(2)
    kept.release(2)
    assert np.array_equal(kept.resized(0), Array(SIDE, _frames()).resized(0))


def test_a_video_file_is_read_in_any_order(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    shades = [10 + 12 * number for number in range(20)]
    with av.open(str(tmp_path / "clip.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 48, 32, "yuv420p", 18
        for shade in shades:
            picture = np.full((32, 48, 3), shade, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    clip = open_clip(tmp_path / "clip.mp4", SIDE)
    assert (clip.count, clip.height, clip.width) == (20, 32, 48)
    forward = [clip.resized(number).copy() for number in range(20)]
    assert [round((float(pixels.mean()) - 10) / 12) for pixels in forward] == list(range(20))
    for number in (*range(19, -1, -1), 5, 18, 3, 4):
        assert np.array_equal(clip.resized(number), forward[number])
    (tmp_path / "text.mp4").write_text("text")
    (tmp_path / "text.png").write_text("text")  # which FFmpeg takes for a film of one frame, by its name
    for name in ("text.mp4", "text.png"):
        with pytest.raises(ValueError, match=f"{name}' (is not a video|holds no frame)"):
            open_clip(tmp_path / name, SIDE)


def test_without_pyav_a_video_file_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "clip.mp4").write_bytes(b"")
    with pytest.raises(ImportError, match=r"samblocks\[video\]"):
        open_clip(tmp_path / "clip.mp4", SIDE)


def test_tracked_frames_are_what_a_dictionary_would_say() -> None:
    random = Random(0)
    for _ in range(30):
        tracked, plain = TrackedFrames(), dict[int, bool]()
        for _ in range(80):
            frame, kind = random.randrange(12), random.randrange(4)
            if kind == 0:
                tracked.discard(frame)
                plain.pop(frame, None)
            else:
                tracked.add(frame, reverse=kind == 1)
                plain[frame] = kind == 1
            assert dict(tracked) == plain
            assert [tracked.direction(frame) for frame in range(12)] == [plain.get(f) for f in range(12)]
            for (_, last, reverse), (first, _, other) in zip(tracked.runs, tracked.runs[1:], strict=False):
                assert last < first - 1 or reverse is not other
