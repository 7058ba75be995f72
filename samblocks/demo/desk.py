"""The loaded model, and what is done with it: masks of a picture, objects through a clip."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from samblocks.checkpoints import load
from samblocks.demo.clicks import Clicks
from samblocks.predict.image import ImagePredictor
from samblocks.predict.masks import Masks
from samblocks.predict.overlays import overlay
from samblocks.predict.resize import Bytes
from samblocks.predict.video.clip_writer import ClipWriter, painted
from samblocks.predict.video.clips import Readable
from samblocks.predict.video.predictor import VideoPredictor


class Desk:
    """The model that is loaded, for everybody who has the page open.

    Args:
        device: where models run; by default on CUDA where it is, else on the CPU.
    """

    def __init__(self, device: str | None = None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.model: nn.Module | None = None
        self.source = ""
        """The name or the file that the model came from."""

    def load(self, source: str) -> None:
        """Load another model.

        Args:
            source: as for `samblocks.load`.

        Raises:
            ValueError: it is neither a file nor a name that is known.
            CheckpointError: it is no checkpoint of a model.
        """
        model = load(source, device=self.device)
        ImagePredictor(model)  # refuses what is no SAM
        self.model, self.source = model, source

    def loaded(self) -> nn.Module:
        """The model.

        Raises:
            ValueError: there is none.
        """
        if self.model is None:
            raise ValueError("load a model first")
        return self.model


class PictureDesk:
    """A picture, the clicks on it, and the masks they give.

    Args:
        model: a SAM, MobileSAM or SAM 2.
        picture: [H, W, 3], uint8.
    """

    def __init__(self, model: nn.Module, picture: Bytes) -> None:
        self.model, self.picture = model, picture
        self.clicks = Clicks()
        self.several = True
        """Whether three masks are asked for, not one."""
        self.masks: Masks | None = None
        self._predictor = ImagePredictor(model)
        self._predictor.set_image(picture)

    def predict(self) -> Masks | None:
        """Masks for the clicks so far, the best one first; None without a click."""
        self.masks = None
        if self.clicks:
            masks, scores, _ = self._predictor.predict(**self._prompts())
            order = np.argsort(-scores, kind="stable")
            self.masks = Masks(masks[order], scores[order])
        return self.masks

    def shown(self) -> Bytes:
        """The picture with its best mask on it; as it is without one."""
        if self.masks is None:
            return self.picture
        return overlay(self.picture, self.masks[:1])

    def exact(self) -> str:
        """How far this machine's masks are from float64's, in a sentence.

        Raises:
            ValueError: there is no click yet.
        """
        if not self.clicks:
            raise ValueError("click on the picture first")
        found, _, _ = self._predictor.predict(**self._prompts(), return_logits=True)
        wide = ImagePredictor(deepcopy(self.model).double())
        wide.set_image(self.picture)
        truth, _, _ = wide.predict(**self._prompts(), return_logits=True)
        error = float(np.abs(found - truth).max() / np.abs(truth).max())
        flipped = int(((found > 0) != (truth > 0)).sum())
        dtype = str(next(self.model.parameters()).dtype).removeprefix("torch.")
        return (
            f"{dtype} on {self._predictor.device} beside float64: {flipped} of {found.size} pixels differ, "
            f"logits by {error:.1e} of the largest"
        )

    def _prompts(self) -> dict[str, Any]:
        return {
            "point_coords": self.clicks.points or None,
            "point_labels": self.clicks.labels or None,
            "box": self.clicks.box,
            "multimask_output": self.several,
        }


class ClipDesk:
    """A clip, the clicks on its frames, and the objects they show.

    Args:
        model: a SAM 2 or 2.1.
        file: a video file, or a folder of pictures.

    Raises:
        ValueError: the model cannot track, or the file is no video.
        ImportError: PyAV is missing.
    """

    def __init__(self, model: nn.Module, file: str) -> None:
        self.model, self.file = model, file
        self._predictor = VideoPredictor(model)
        self._state = self._predictor.init_state(file)
        self.clicks: dict[tuple[str, int], Clicks] = {}
        """By object and frame."""
        self._found: dict[int, tuple[list[Any], NDArray[np.bool_]]] = {}
        self._folder = tempfile.mkdtemp(prefix="samblocks-")
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    @property
    def clip(self) -> Readable:
        """The frames."""
        clip = self._state.clip
        assert isinstance(clip, Readable)
        return clip

    @property
    def frames(self) -> int:
        """How many frames there are."""
        return self.clip.count or 0

    def click(self, obj_id: str, frame: int, kind: Any, place: tuple[int, int]) -> None:
        """Take a click on a frame, and find the object there."""
        if self.clicks.setdefault((obj_id, frame), Clicks()).add(kind, place):
            self._show(obj_id, frame)

    def with_model(self, model: nn.Module) -> ClipDesk:
        """The same clip and clicks before another model.

        Raises:
            ValueError: the model cannot track.
        """
        other = ClipDesk(model, self.file)
        other.clicks = self.clicks
        for (obj_id, frame), clicks in self.clicks.items():
            if clicks:
                other._show(obj_id, frame)
        return other

    def shown(self, frame: int) -> Bytes:
        """A frame, with what is known of it and the clicks on it."""
        picture = self.clip.pixels(frame)
        if frame in self._found:
            picture = painted(picture, *self._found[frame])
        for (_, where), clicks in self.clicks.items():
            if where == frame:
                picture = clicks.drawn(picture)
        return picture

    def track(self, progress: Callable[[int, int], None]) -> tuple[Path, list[list[Any]]]:
        """Track all objects through all frames, and write the overlay.

        Args:
            progress: called with the number of frames that are done, and that of all.

        Returns:
            The clip's file, or its first picture where PyAV is missing; and a row for each object: its name, the number
            of frames it is seen on, and its mean area in pixels.

        Raises:
            ValueError: no object was shown yet.
        """
        if not any(self.clicks.values()):
            raise ValueError("click on an object first")
        first = min(frame for (_, frame), clicks in self.clicks.items() if clicks)
        target = Path(tempfile.mkdtemp(dir=self._folder)) / "tracked"
        areas: dict[str, list[int]] = {str(obj_id): [] for obj_id in self._state.obj_ids}
        done = 0
        with ClipWriter(target, rate=getattr(self.clip, "rate", 25.0)) as writer:
            for reverse in (True, False) if first else (False,):
                start = first if reverse else None
                for found in self._predictor.propagate_in_video(self._state, start, reverse=reverse):
                    self._keep(*found)
                    done += 1
                    progress(min(done, self.frames), self.frames)
            for frame in range(self.frames):
                ids, masks = self._found[frame]
                writer.write(frame, self.clip.pixels(frame), ids, masks)
                for obj_id, mask in zip(ids, masks, strict=True):
                    areas[str(obj_id)].append(int(mask.sum()))
        rows = [
            [obj_id, sum(area > 0 for area in seen), round(float(np.mean(seen)), 1)]
            for obj_id, seen in areas.items()
        ]
        video = target / "overlay.mp4"
        return (video if video.exists() else sorted((target / "overlay").iterdir())[0]), rows

    def _show(self, obj_id: str, frame: int) -> None:
        """Say the clicks on an object of a frame to the predictor."""
        clicks = self.clicks[obj_id, frame]
        found = self._predictor.add_new_points_or_box(
            self._state, frame, obj_id, clicks.points or None, clicks.labels or None, box=clicks.box
        )
        self._keep(*found)

    def _keep(self, frame: int, ids: list[Any], masks: torch.Tensor) -> None:
        self._found[frame] = list(ids), (masks[:, 0] > 0).cpu().numpy()
