"""What the documentation tells about videos works as it stands there."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from PIL import Image

import samblocks
from samblocks.cli.command_line import Parser
from samblocks.cli.commands import track
from samblocks.predict import VideoPredictor

SECTION = (Path(__file__).parents[2] / "docs" / "video.md").read_text(encoding="utf-8")


def test_the_example_tracks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").mkdir()  # a folder is as good
    for number in range(42):
        picture = np.random.RandomState(number).randint(0, 256, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "clip.mp4" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(
        vars(samblocks), "VideoPredictor", lambda path: VideoPredictor(small_models.tracker(present=1.0))
    )
    names: dict[str, Any] = {"samblocks": samblocks}
    found = re.search(r"```python\n(.*?)```", SECTION, re.DOTALL)
    assert found is not None
    exec(found[1], names)
    state = names["state"]
    assert state.stale_frames() == [41]
    assert names["frame"] == 41
    assert names["masks"].shape == (2, 1, 20, 30)
    assert names["predictor"].resume("clip.safetensors").obj_ids == ["cat", "dog"]


def test_the_command_has_these_options() -> None:
    found = re.search(r"samblocks track (.*)", SECTION)
    assert found is not None
    parser = Parser(prog="samblocks track")
    track.add(parser)
    arguments = parser.parse_args(found[1].split())
    assert {(obj_id, frame) for obj_id, frame in arguments.prompts} == {("cat", 0), ("cat", 25)}
