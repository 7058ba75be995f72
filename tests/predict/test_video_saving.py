"""States in files: another process goes on with the same bits; what does not fit is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_video import MODEL, differing, frames, loop, run, shown
from test_video_window import camera

from samblocks.errors import CheckpointError
from samblocks.predict import VideoPredictor

_GO_ON = """
import sys
sys.path.insert(0, {folder!r})
import small_models, torch
from safetensors.torch import save_file
from samblocks.predict import VideoPredictor
torch.set_num_threads({threads})
driver = VideoPredictor(small_models.tracker(present=-1.0), batch_objects=False)
state = driver.resume({saved!r})
found = {{str(frame): masks.clone() for frame, _, masks in driver.propagate_in_video(state, 5)}}
save_file(found, {out!r})
"""


def test_another_process_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    for number, picture in enumerate(frames(10)):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    driver = loop()
    state = shown(driver, tmp_path)
    run(driver, state, 0, 4)
    driver.add_new_points_or_box(state, 4, "one", points=[[30, 8]], labels=[0])
    state.save(tmp_path / "state.safetensors")
    out = tmp_path / "found.safetensors"
    code = _GO_ON.format(
        folder=str(Path(__file__).parent),
        saved=str(tmp_path / "state.safetensors"),
        out=str(out),
        threads=torch.get_num_threads(),
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    found = {int(frame): masks for frame, masks in load_file(out).items()}
    assert differing(run(driver, state, 5), dict(sorted(found.items()))) == []


def test_everything_comes_back(tmp_path: Path) -> None:
    driver = loop(history="window")
    source = frames(12)
    state = shown(driver, source)
    driver.add_new_mask(state, 1, "mask", np.ones((5, 5)))
    run(driver, state)
    driver.add_new_points_or_box(state, 6, "one", points=[[30, 8]], labels=[0])
    state.save(tmp_path / "state.safetensors")
    again = driver.resume(tmp_path / "state.safetensors", source)
    assert again.obj_ids == state.obj_ids
    assert (again.last, again.history) == (state.last, "window")
    assert again.stale_frames() == state.stale_frames()
    for obj_id, track in state.tracks.items():
        other = again.tracks[obj_id]
        assert other.tracked.runs == track.tracked.runs
        assert other.corrected == track.corrected
        assert list(other.points) == list(track.points)
        assert all(torch.equal(other.masks[frame], mask) for frame, mask in track.masks.items())
    _, _, one = driver.add_new_points_or_box(state, 6, "one", [[9, 9]], [1], clear_old_points=False)
    _, _, other_masks = driver.add_new_points_or_box(again, 6, "one", [[9, 9]], [1], clear_old_points=False)
    assert torch.equal(one, other_masks)
    assert differing(run(driver, state), run(driver, again)) == []


def test_a_stream_goes_on_where_it_was(tmp_path: Path) -> None:
    driver = loop()
    whole = shown(driver, frames(24))
    expected = run(driver, whole)
    source = camera(24)
    state = driver.init_state(source)
    driver.add_new_points_or_box(state, 0, "one", points=[[20, 20]], labels=[1])
    found = {}
    for frame, _, masks in driver.propagate_in_video(state, max_frame_num_to_track=9):
        found[frame] = masks
    state.save(tmp_path / "state.safetensors")
    again = driver.resume(tmp_path / "state.safetensors", source)
    found |= run(driver, again, 10)
    assert differing({frame: masks[:1] for frame, masks in expected.items()}, found) == []


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: VideoPredictor(small_models.tracker("sam2_hiera_tiny"), batch_objects=False), "weights"),
        (lambda: VideoPredictor(MODEL, fill_hole_area=0), "fill_hole_area"),
        (lambda: VideoPredictor(MODEL, corrections="upstream"), "corrections"),
    ],
)
def test_another_predictor_is_refused(made: Any, message: str, tmp_path: Path) -> None:
    driver = loop()
    state = shown(driver)
    state.save(tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match=message):
        made().resume(tmp_path / "state.safetensors", frames())


def test_another_video_or_file_is_refused(tmp_path: Path) -> None:
    driver = loop()
    state = shown(driver)
    state.save(tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match="must be given again"):
        driver.resume(tmp_path / "state.safetensors")
    with pytest.raises(ValueError, match="11 frames"):
        driver.resume(tmp_path / "state.safetensors", frames(11))
    (tmp_path / "text").write_text("text")
    save_file({"x": torch.zeros(1)}, tmp_path / "weights.safetensors")
    for name in ("text", "weights.safetensors"):
        with pytest.raises(CheckpointError, match="no saved state"):
            driver.resume(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        driver.resume(tmp_path / "nowhere")


def test_an_id_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    driver = loop()
    state = driver.init_state(frames(2))
    driver.add_new_points_or_box(state, 0, (1, 2), points=[[20, 20]], labels=[1])
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        state.save(tmp_path / "state.safetensors")
    assert list(tmp_path.iterdir()) == []
