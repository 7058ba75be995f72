"""The page, in gradio: one tab for a picture, one for a clip, and above both the model and what is known of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import gradio as gr
import numpy as np

from samblocks.demo.clicks import Clicks
from samblocks.demo.desk import ClipDesk, Desk, PictureDesk
from samblocks.demo.verdict import Upstream
from samblocks.errors import SamblocksError
from samblocks.variants import VARIANTS

LAUNCH: Final[dict[str, Any]] = {
    "server_name": "127.0.0.1",
    "share": False,
    "quiet": True,
    "footer_links": [],
    "ssr_mode": False,
    "theme": gr.themes.Base(
        primary_hue="blue",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size="sm",
    ),
    "css": "#verdict { overflow-wrap: anywhere } button.lg { font-size: 1rem; font-weight: 500; padding: 0.5rem }",
}
"""How the page is served: from this machine to itself alone, with nothing fetched from elsewhere."""

_BUTTONS: Final = ["download", "fullscreen"]
_KINDS: Final = [
    ("on the object", "object"),
    ("on the background", "background"),
    ("a corner of a box", "box"),
]


class Page:
    """The page and what it stands on.

    Args:
        desk: the model.
        checkpoint: the weights for parity to judge; by default what the desk has loaded.
    """

    def __init__(self, desk: Desk, checkpoint: str | None = None) -> None:
        self._desk = desk
        self.upstream = Upstream(desk.source if checkpoint is None else checkpoint)
        with gr.Blocks(title="samblocks", analytics_enabled=False) as self.blocks:
            self._model()
            with gr.Tab("Picture"):
                self._picture()
            with gr.Tab("Clip"):
                self._clip()

    def _model(self) -> None:
        """The model's name, and the verdict beside it."""
        with gr.Row(equal_height=True):
            source = gr.Dropdown(
                list(VARIANTS),
                value=self._desk.source or None,
                allow_custom_value=True,
                label="Model, or checkpoint's file",
                scale=4,
                min_width=240,
                elem_id="model",
            )
            load = gr.Button("Load", scale=1, min_width=80, elem_id="load")
        verdict = gr.Markdown(_beside(self.upstream), elem_id="verdict")
        timer = gr.Timer(2.0)

        def loaded(name: str) -> tuple[str, Any]:
            if not name:
                raise ValueError("choose a model, or give a file")
            self._desk.load(name)
            self.upstream.stop()
            self.upstream = Upstream(name)
            return _beside(self.upstream), gr.Timer(active=True)

        def ticked() -> tuple[str, Any]:
            return _beside(self.upstream), gr.Timer(active=self.upstream.running)

        load.click(_told(loaded), source, [verdict, timer])
        timer.tick(ticked, None, [verdict, timer], show_progress="hidden")

    def _picture(self) -> None:
        desk = gr.State(None)
        with gr.Row():
            with gr.Column(min_width=280):
                picture = gr.Image(
                    label="Picture: choose one, then click on it",
                    sources=["upload", "clipboard"],
                    format="png",
                    elem_id="picture",
                )
                kind = gr.Radio(_KINDS, value="object", label="A click is", elem_id="kind")
                several = gr.Checkbox(True, label="three masks, the best first", elem_id="several")
                with gr.Row():
                    undo, clear = gr.Button("Undo", min_width=80), gr.Button("Clear clicks", min_width=80)
            with gr.Column(min_width=280):
                shown = gr.Image(
                    label="Best mask", interactive=False, format="png", buttons=_BUTTONS, elem_id="overlay"
                )
                masks = gr.Gallery(
                    label="Masks",
                    columns=3,
                    height="auto",
                    object_fit="contain",
                    format="png",
                    interactive=False,
                    elem_id="masks",
                )
                scores = gr.Dataframe(
                    headers=["mask", "score", "pixels"],
                    datatype="number",
                    interactive=False,
                    label="Scores",
                    elem_id="scores",
                )
                exact = gr.Button("Compare with float64")
                error = gr.Markdown(elem_id="exact")
        outputs = [desk, picture, shown, masks, scores, error]

        def chosen(pixels: Any) -> tuple[Any, ...]:
            if pixels is None:
                return None, None, None, None, None, ""
            return _answer(PictureDesk(self._desk.loaded(), np.ascontiguousarray(pixels)))

        def clicked(
            found: PictureDesk | None, which: Any, three: bool, event: gr.SelectData
        ) -> tuple[Any, ...]:
            found = self._picture_desk(found)
            found.clicks.add(which, (int(event.index[0]), int(event.index[1])))
            found.several = three
            return _answer(found)

        def changed(found: PictureDesk | None, three: bool) -> tuple[Any, ...]:
            if found is None:
                return (gr.skip(),) * 6
            found.several = three
            return _answer(found)

        def undone(found: PictureDesk | None) -> tuple[Any, ...]:
            found = self._picture_desk(found)
            found.clicks.undo()
            return _answer(found)

        def cleared(found: PictureDesk | None) -> tuple[Any, ...]:
            found = self._picture_desk(found)
            found.clicks = Clicks()
            return _answer(found)

        def compared(found: PictureDesk | None) -> str:
            return self._picture_desk(found).exact()

        picture.input(_told(chosen), picture, outputs)
        picture.select(_told(clicked), [desk, kind, several], outputs)
        several.input(_told(changed), [desk, several], outputs)
        undo.click(_told(undone), desk, outputs)
        clear.click(_told(cleared), desk, outputs)
        exact.click(_told(compared), desk, error)

    def _picture_desk(self, found: PictureDesk | None) -> PictureDesk:
        """The picture on the desk, encoded anew if another model was loaded since."""
        if found is None:
            raise ValueError("choose a picture first")
        model = self._desk.loaded()
        if found.model is not model:
            clicks, found = found.clicks, PictureDesk(model, found.picture)
            found.clicks = clicks
        return found

    def _clip_desk(self, found: ClipDesk | None) -> ClipDesk:
        """The clip on the desk, its clicks said to another model if one was loaded since."""
        found, model = _chosen(found), self._desk.loaded()
        return found if found.model is model else found.with_model(model)

    def _clip(self) -> None:
        desk = gr.State(None)
        with gr.Row():
            with gr.Column(min_width=280):
                clip = gr.Video(label="Clip: choose one", sources=["upload"], height=180, elem_id="clip")
                frame = gr.Image(
                    label="Frame: click on an object",
                    interactive=False,
                    format="png",
                    buttons=[],
                    elem_id="frame",
                )
                at = gr.Slider(0, 1, 0, step=1, label="Frame", interactive=False, elem_id="at")
                kind = gr.Radio(_KINDS, value="object", label="A click is")
                with gr.Row():
                    obj_id = gr.Radio(["1"], value="1", label="Object", min_width=120)
                    another = gr.Button("Another object", min_width=120)
                with gr.Row():
                    track = gr.Button("Track", variant="primary", min_width=120, elem_id="track")
                    clear = gr.Button("Start over", min_width=120)
            with gr.Column(min_width=280):
                tracked = gr.Video(label="Tracked", interactive=False, loop=True, elem_id="tracked")
                objects = gr.Dataframe(
                    headers=["object", "frames seen", "mean pixels"],
                    interactive=False,
                    label="Objects",
                    elem_id="objects",
                )

        def chosen(file: str | None) -> tuple[Any, ...]:
            if file is None:
                return None, gr.Slider(interactive=False), None, None, None, gr.Radio(["1"], value="1")
            found = ClipDesk(self._desk.loaded(), file)
            slider = gr.Slider(0, max(found.frames - 1, 1), 0, interactive=found.frames > 1)
            return found, slider, found.shown(0), None, None, gr.Radio(["1"], value="1")

        def clicked(
            found: ClipDesk | None, number: int, which: Any, one: str, event: gr.SelectData
        ) -> tuple[Any, ...]:
            found = self._clip_desk(found)
            found.click(one, number, which, (int(event.index[0]), int(event.index[1])))
            return found, found.shown(number)

        def moved(found: ClipDesk | None, number: int) -> Any:
            return _chosen(found).shown(number)

        def added(found: ClipDesk | None) -> Any:
            names = sorted({int(one) for one, _ in _chosen(found).clicks} | {1})
            names = (
                [*names, names[-1] + 1]
                if any(str(names[-1]) == one for one, _ in _chosen(found).clicks)
                else names
            )
            return gr.Radio([str(name) for name in names], value=str(names[-1]))

        def followed(
            found: ClipDesk | None,
            number: int,
            progress: gr.Progress = gr.Progress(),  # noqa: B008 - gradio's way
        ) -> tuple[Any, ...]:
            found = self._clip_desk(found)
            file, rows = found.track(lambda done, total: progress((done, total), unit="frames"))
            return found, str(file), rows, found.shown(number)

        start = [desk, at, frame, tracked, objects, obj_id]
        clip.input(_told(chosen), clip, start)
        clear.click(_told(chosen), clip, start)
        frame.select(_told(clicked), [desk, at, kind, obj_id], [desk, frame])
        at.input(_told(moved), [desk, at], frame, show_progress="hidden")
        another.click(_told(added), desk, obj_id)
        track.click(_told(followed), [desk, at], [desk, tracked, objects, frame])


def _answer(found: PictureDesk) -> tuple[Any, ...]:
    """The picture, what was found on it, and an empty comparison."""
    masks = found.predict()
    pictures: list[tuple[Any, str]] = []
    rows: list[list[Any]] = []
    if masks is not None:
        assert masks.scores is not None
        values = zip(masks.numpy(), masks.scores, masks.areas, strict=True)
        for number, (mask, score, area) in enumerate(values, start=1):
            pictures.append(
                (np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2), f"{number}: {score:.3f}")
            )
            rows.append([number, round(float(score), 4), int(area)])
    return found, found.clicks.drawn(found.picture), found.shown(), pictures, rows, ""


def _beside(upstream: Upstream) -> str:
    return f"**Beside upstream, by parity:** {upstream.verdict()}"


def _chosen(found: ClipDesk | None) -> ClipDesk:
    if found is None:
        raise ValueError("choose a clip first")
    return found


def _told(handler: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose refusals are said on the page."""

    @functools.wraps(handler)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except (SamblocksError, ValueError, ImportError, OSError) as error:
            raise gr.Error(str(error), print_exception=False) from None

    return wrapped
