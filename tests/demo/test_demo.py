"""What stands behind the page of `samblocks demo`, without the page."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models

from parity.__main__ import main as parity_main
from parity.execution import fill
from samblocks.cli import main
from samblocks.demo import verdict
from samblocks.demo.clicks import Clicks
from samblocks.demo.desk import ClipDesk, Desk, PictureDesk
from samblocks.demo.verdict import Upstream
from samblocks.predict import ImagePredictor, VideoPredictor

PICTURE = fill.integers("picture", (40, 56, 3), 0, 256).astype(np.uint8)


def test_clicks_are_taken_drawn_and_taken_back() -> None:
    clicks = Clicks()
    assert not clicks
    assert clicks.add("object", (20, 10))
    assert clicks.add("background", (5, 30))
    assert not clicks.add("box", (50, 4))
    assert not clicks.add("box", (50, 9))  # no box has a width of 0: the corner is another one
    assert clicks.add("box", (10, 36))
    assert (clicks.points, clicks.labels, clicks.box) == ([(20, 10), (5, 30)], [1, 0], (10, 9, 50, 36))
    drawn = clicks.drawn(PICTURE)
    assert drawn.shape == PICTURE.shape
    green, red, side = drawn[10, 20].astype(int), drawn[30, 5].astype(int), drawn[20, 50]
    assert green[1] > green[0]
    assert red[0] > red[1]
    assert side.tolist() == [255, 255, 255]
    assert np.array_equal(drawn[25, 30], PICTURE[25, 30])
    for _ in range(3):
        clicks.undo()
    assert not clicks
    assert np.array_equal(clicks.drawn(PICTURE), PICTURE)


@pytest.mark.parametrize("make", [small_models.sam, small_models.sam2])
def test_a_picture_answers_as_the_predictor_does(make: Any) -> None:
    model = make()
    desk = PictureDesk(model, PICTURE)
    assert desk.predict() is None
    assert desk.shown() is PICTURE
    with pytest.raises(ValueError, match="click on the picture first"):
        desk.exact()
    desk.clicks.add("object", (20, 10))
    masks = desk.predict()
    assert masks is not None
    predictor = ImagePredictor(model)
    predictor.set_image(PICTURE)
    expected, scores, _ = predictor.predict([[20, 10]], [1])
    order = np.argsort(-scores)
    assert np.array_equal(masks.numpy(), expected[order] > 0)
    assert masks.scores is not None
    assert np.array_equal(masks.scores, scores[order].astype(np.float64))
    assert np.array_equal(desk.shown() != PICTURE, desk.shown() != desk.picture)
    desk.several = False
    single = desk.predict()
    assert single is not None
    assert len(single) == 1
    assert desk.exact().startswith("float32 on cpu beside float64: 0 of 2240 pixels differ, logits by ")


def test_a_clip_is_tracked_both_ways(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for number in range(4):
        pillow.fromarray(np.roll(PICTURE, 3 * number, axis=1)).save(tmp_path / f"{number}.png")
    model = small_models.tracker(present=8.0)
    desk = ClipDesk(model, str(tmp_path))
    with pytest.raises(ValueError, match="click on an object first"):
        desk.track(lambda done, total: None)
    desk.click("1", 2, "object", (20, 10))
    desk.click("2", 2, "box", (5, 5))
    desk.click("2", 2, "box", (50, 30))
    assert not np.array_equal(desk.shown(2), desk.clip.pixels(2))
    told: list[tuple[int, int]] = []
    file, rows = desk.track(lambda done, total: told.append((done, total)))
    assert file.exists()
    assert told[-1] == (4, 4)
    predictor = VideoPredictor(model)
    state = predictor.init_state(tmp_path)
    predictor.add_new_points_or_box(state, 2, "1", [[20, 10]], [1])
    predictor.add_new_points_or_box(state, 2, "2", box=[5, 5, 50, 30])
    areas = {}
    for reverse in (True, False):
        for frame, _, masks in predictor.propagate_in_video(state, 2 if reverse else None, reverse=reverse):
            areas[frame] = (masks[:, 0] > 0).sum((1, 2)).tolist()
    for number, row in enumerate(rows):
        seen = [areas[frame][number] for frame in range(4)]
        assert row == [str(number + 1), sum(area > 0 for area in seen), round(float(np.mean(seen)), 1)]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    desk = Desk("cpu")
    with pytest.raises(ValueError, match="load a model first"):
        desk.loaded()
    with pytest.raises(ValueError, match="cannot track"):
        ClipDesk(small_models.sam(), str(tmp_path))


def test_the_verdict_is_paritys_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Upstream("").verdict() == "NOT RUN: the weights are of no file"
    started: list[list[str]] = []
    scripts: list[str] = []
    popen = subprocess.Popen

    def instead(command: list[str], **options: Any) -> Any:
        started.append(command)
        return popen([sys.executable, "-c", scripts[-1]], **options)

    monkeypatch.setattr("samblocks.demo.verdict.subprocess.Popen", instead)
    for script, expected in (
        ("print('more\\nPASSED: 7 stages')", "PASSED: 7 stages"),
        ("print('it diverged'); exit(1)", "FAILED: it diverged"),
        ("print('no reference is installed'); exit(3)", "NOT RUN: no reference is installed"),
        ("print('NOT RUN a: is ill\\nINCOMPLETE: 7'); exit(3)", "INCOMPLETE: 7; not run: is ill (a)"),
        ("exit(2)", "NOT RUN: parity ended with status 2 and no word"),
    ):
        scripts.append(script)
        run = Upstream("model.pt")
        run.wait()
        assert run.verdict() == expected
        assert not run.running
    told = ["-m", "parity", "run", "--stages-only", "--no-truths", "--checkpoint", "model.pt"]
    assert started[0][1:] == told
    scripts.append("import time; time.sleep(60)")
    run = Upstream("model.pt")
    assert run.running
    assert run.verdict().startswith("RUNNING")
    run.stop()
    assert not run.running
    monkeypatch.setattr(verdict, "find_spec", lambda name: None)
    assert Upstream("model.pt").verdict() == "NOT RUN: parity is not installed here"


def test_without_references_parity_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pt"
    assert parity_main(["synthesize", "mobile_sam", "--out", str(weights)]) == 0
    monkeypatch.setenv("SAMBLOCKS_REFERENCES", str(tmp_path / "nowhere"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.chdir(tmp_path)
    run = Upstream(str(weights))
    run.wait()
    assert run.verdict() == (
        "NOT RUN: the references' environment is missing: make references "
        "(meta, ultralytics, transformers, timm, hq)"
    )
    assert list(tmp_path.iterdir()) == [weights]


def test_a_clip_goes_to_another_model_with_its_clicks(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for number in range(3):
        pillow.fromarray(np.roll(PICTURE, 3 * number, axis=1)).save(tmp_path / f"{number}.png")
    first, second = small_models.tracker(present=8.0), small_models.tracker(present=8.0)
    for parameter in second.sam_mask_decoder.output_upscaling.parameters():
        parameter.data.neg_()
    moved, fresh = ClipDesk(first, str(tmp_path)), ClipDesk(second, str(tmp_path))
    for desk in (moved, fresh):
        desk.click("1", 1, "object", (20, 10))
        desk.click("2", 1, "box", (5, 5))  # whose second corner is still to come
    other = moved.with_model(second)
    assert other.model is second
    assert np.array_equal(other.shown(1), fresh.shown(1))
    assert not np.array_equal(other.shown(1), moved.shown(1))
    assert other.track(lambda done, total: None)[1] == fresh.track(lambda done, total: None)[1]
    with pytest.raises(ValueError, match="cannot track"):
        moved.with_model(small_models.sam())


@pytest.mark.parametrize("port", ["0", "-1", "65536", "1e3", "x"])
def test_a_port_that_is_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--port", port]) == 2
    assert f"argument --port: '{port}': a port is a number from 1 to 65535" in capsys.readouterr().err


def test_without_gradio_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "samblocks: the demo needs gradio: pip install 'samblocks[demo]'\n"
