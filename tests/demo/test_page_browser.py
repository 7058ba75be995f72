"""`samblocks demo` in a real browser: load the page, click, and a mask appears whose pixels are the predictor's."""

import importlib.util
import io
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models

from parity.__main__ import main as parity_main
from parity.execution import fill
from samblocks.cli import main
from samblocks.demo.desk import Desk
from samblocks.predict import ImagePredictor
from samblocks.predict.masks import Masks
from samblocks.predict.overlays import overlay

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def _picture(number: int = 0) -> np.ndarray:
    """[240, 320, 3] of coarse patches, shifted from one number to the next."""
    coarse = fill.integers("picture", (15, 20, 3), 0, 256).astype(np.uint8)
    return np.roll(coarse.repeat(16, axis=0).repeat(16, axis=1), 4 * number, axis=1)


@pytest.fixture
def model() -> Any:
    return small_models.tracker(present=8.0)


@pytest.fixture
def page(model: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The page in a browser, with a small model on the desk."""
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    for name in ("gradio", "playwright", "av", "PIL"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"NOT RUN: {name} is not installed (make browser)")
    if CHROMIUM is None:
        pytest.skip("NOT RUN: there is no chromium (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    from samblocks.demo.page import LAUNCH, Page

    desk = Desk("cpu")
    desk.model = model
    made = Page(desk)
    _, address, _ = made.blocks.launch(prevent_thread_lock=True, **LAUNCH)
    assert address.startswith("http://127.0.0.1:")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        elsewhere: list[str] = []
        tab.on("request", lambda request: elsewhere.append(request.url))
        tab.goto(address)
        yield tab
        assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []
        browser.close()
    made.blocks.close(verbose=False)
    assert threading.active_count() < 50


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def _pixels(page: Any, where: str, number: int = 0) -> np.ndarray:
    from PIL import Image

    answer = page.request.get(page.locator(where).nth(number).get_attribute("src"))
    assert answer.ok
    return np.asarray(Image.open(io.BytesIO(answer.body())).convert("RGB"))


def _click(page: Any, where: str, x: int, y: int) -> None:
    """Click on the middle of a pixel of a picture that is shown in some size, in its own shape."""
    shown = page.locator(where).first
    shown.scroll_into_view_if_needed()
    box = shown.bounding_box()
    shown.click(position={"x": box["width"] * (x + 0.5) / 320, "y": box["height"] * (y + 0.5) / 240})


def _expected(model: Any, points: list[tuple[int, int]], labels: list[int]) -> Masks:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture())
    masks, scores, _ = predictor.predict(points, labels)
    order = np.argsort(-scores, kind="stable")
    return Masks(masks[order], scores[order])


def test_a_click_on_a_picture_gives_the_predictors_masks(page: Any, model: Any) -> None:
    assert "NOT RUN: the weights are of no file" in page.locator("#verdict").inner_text()
    picture = {"name": "picture.png", "mimeType": "image/png", "buffer": _png(_picture())}
    page.set_input_files("#picture input[type=file]", picture)
    page.wait_for_selector("#overlay img")
    assert np.array_equal(_pixels(page, "#overlay img"), _picture())
    _click(page, "#picture img", 180, 90)
    page.wait_for_selector("#masks img")
    expected = _expected(model, [(180, 90)], [1])
    assert 0.05 < expected.numpy()[0].mean() < 0.95
    for number in range(3):
        shown = _pixels(page, "#masks img", number)
        assert np.array_equal(
            shown, np.repeat(expected.numpy()[number][..., None] * np.uint8(255), 3, axis=2)
        )
    assert np.array_equal(_pixels(page, "#overlay img"), overlay(_picture(), expected[:1]))
    told = page.locator("#scores").inner_text()
    assert expected.scores is not None
    for score, area in zip(expected.scores, expected.areas, strict=True):
        assert f"{round(float(score), 4)}" in told
        assert f"{area}" in told
    before = page.locator("#masks img").first.get_attribute("src")
    page.get_by_label("on the background").first.check()
    _click(page, "#picture img", 40, 200)
    page.wait_for_function(
        "src => document.querySelector('#masks img').getAttribute('src') !== src", arg=before
    )
    expected = _expected(model, [(180, 90), (40, 200)], [1, 0])
    assert np.array_equal(_pixels(page, "#overlay img"), overlay(_picture(), expected[:1]))
    page.get_by_role("button", name="Compare with float64").click()
    page.wait_for_selector("#exact p")
    assert "of 230400 pixels differ" in page.locator("#exact").inner_text()


def test_a_clip_is_tracked_and_plays(page: Any, tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "clip.mp4"), "w") as video:
        stream = video.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(5):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(_picture(number), format="rgb24")))
        video.mux(stream.encode())
    page.get_by_role("tab", name="Clip").click()
    page.set_input_files("#clip input[type=file]", str(tmp_path / "clip.mp4"))
    page.wait_for_selector("#frame img")
    plain = page.locator("#frame img").get_attribute("src")
    _click(page, "#frame img", 180, 90)
    page.wait_for_function(
        "src => document.querySelector('#frame img').getAttribute('src') !== src", arg=plain
    )
    page.click("#track")
    page.wait_for_selector("#tracked video")
    page.wait_for_function("document.querySelector('#tracked video').readyState >= 2")
    assert page.evaluate("document.querySelector('#tracked video').videoWidth") == 320
    page.wait_for_function(r"/\b1\s+5\s/.test(document.querySelector('#objects').innerText)")


def test_what_is_refused_is_said(page: Any, tmp_path: Path) -> None:
    page.locator("#model input").fill(str(tmp_path / "nothing.pt"))
    page.locator("#model input").press("Enter")
    page.click("#load")
    page.get_by_text("nothing.pt").nth(0).wait_for()
    page.locator(".toast-body").wait_for()
    assert "nothing.pt" in page.locator(".toast-body").inner_text()


def test_the_verdict_of_parity_stands_beside_the_loaded_weights(page: Any, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    assert parity_main(["synthesize", "mobile_sam", "--out", str(weights)]) == 0
    page.locator("#model input").fill(str(weights))
    page.locator("#model input").press("Enter")
    page.click("#load")
    page.locator("#verdict").get_by_text("RUNNING").wait_for()
    page.locator("#verdict").get_by_text("RUNNING").wait_for(state="detached", timeout=600_000)
    told = page.locator("#verdict").inner_text()
    if "the references' environment is missing" in told:
        pytest.skip(f"{told} (make references)")
    assert "PASSED: 1 case against " in told
    assert "SAMModel/stages_mobile_sam" in told


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("NOT RUN: gradio is not installed (make browser)")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 2
    told = f"samblocks: port {port} is taken on this machine: name another one by --port\n"
    assert capsys.readouterr().err == told
