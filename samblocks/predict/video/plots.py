"""A plot of a tracked video, frame by frame: how large objects are, how sure the model is, memory, and drift."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from samblocks.files import write_atomically
from samblocks.predict.overlays import colour

FORMATS: Final = (".png", ".svg", ".pdf")

_GREY: Final = "#555555"


def resident_memory(device: torch.device | None = None) -> float | None:
    """Memory taken now, in MB: by tensors on a CUDA device, else by the process; None where that is not told."""
    if device is not None and device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 1e6
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Curves:
    """Figures of a video's frames, and their plot.

    Args:
        device: where the model runs, whose memory is drawn.
        memory: draw memory: not where frames are taken after they were tracked.

    Examples:
        >>> curves = Curves()
        >>> curves.add(0, ["cat"], torch.ones(1, 1, 4, 4), {"cat": 3.5})
        >>> curves.areas["cat"]
        {0: 100.0}
    """

    def __init__(self, device: torch.device | None = None, *, memory: bool = True) -> None:
        self._device, self._remembers = device, memory
        self.areas: dict[Hashable, dict[int, float]] = {}
        """Of each object, by frame: percent of the frame's pixels."""
        self.scores: dict[Hashable, dict[int, float]] = {}
        """Of each object, by frame: the logit of its being there."""
        self.memory: dict[int, float] = {}
        """By the number of frames that were tracked before: MB."""
        self.errors: dict[int, float] = {}
        """By frame, beside another run: the root mean square of the logits' difference, as a share of theirs."""
        self.flips: dict[int, float] = {}
        """By frame, beside another run: percent of the pixels that are in a mask of one run alone."""

    def add(
        self,
        frame: int,
        ids: Sequence[Hashable],
        logits: Tensor,
        scores: Mapping[Hashable, float],
        beside: Tensor | None = None,
    ) -> None:
        """Take a frame, as it is tracked.

        Args:
            frame: its number.
            ids: the objects.
            logits: [N, 1, H, W] of the objects.
            scores: of those objects of which it is known, the logit of their being there.
            beside: [N, 1, H, W], logits of another run, from which drift is measured.
        """
        taken = resident_memory(self._device) if self._remembers else None
        if taken is not None:
            self.memory[len(self.memory)] = taken
        for obj_id, mask in zip(ids, logits > 0, strict=True):
            self.areas.setdefault(obj_id, {})[frame] = 100 * float(mask.double().mean())
        for obj_id, score in scores.items():
            self.scores.setdefault(obj_id, {})[frame] = score
        if beside is not None:
            mine, other = logits.double(), beside.to(logits.device, torch.float64)
            size = other.square().mean().sqrt().clamp(min=torch.finfo(torch.float64).tiny)
            self.errors[frame] = float((mine - other).square().mean().sqrt() / size)
            self.flips[frame] = 100 * float(((mine > 0) != (other > 0)).double().mean())

    def save(self, path: str | os.PathLike[str], *, title: str = "", beside: str = "another run") -> None:
        """Draw what was taken.

        Args:
            path: the file, of one of `FORMATS`.
            title: of the plot.
            beside: what drift was measured from.

        Raises:
            ValueError: the file's ending is none of these.
            ImportError: matplotlib is missing.
            OSError: the file cannot be written.
        """
        check_file(path)
        from matplotlib.figure import Figure

        panels = ["areas"]
        panels += ["scores"] if self.scores or self._remembers else []
        panels += ["memory"] if self._remembers else []
        panels += ["drift"] if self.errors else []
        figure = Figure(figsize=(9, 1.0 + 1.8 * len(panels)), layout="constrained")
        axes = dict(zip(panels, figure.subplots(len(panels), 1, squeeze=False)[:, 0], strict=True))
        if title:
            figure.suptitle(title, fontsize=11)
        for number, obj_id in enumerate(self.areas):
            shade = tuple(level / 255 * 0.8 for level in colour(number))
            _line(axes["areas"], self.areas[obj_id], color=shade, label=str(obj_id))
            if "scores" in axes:
                _line(axes["scores"], self.scores.get(obj_id, {}), color=shade)
        axes["areas"].set_ylabel("area, % of frame")
        if len(self.areas) > 1:
            axes["areas"].legend(
                title="object", fontsize=8, title_fontsize=8, loc="upper left", bbox_to_anchor=(1, 1)
            )
        if "scores" in axes:
            axes["scores"].axhline(0, color=_GREY, linewidth=0.8, linestyle=":")
            axes["scores"].set(ylabel="score (0: gone)")
        if "memory" in axes:
            _line(axes["memory"], self.memory, color=_GREY)
            axes["memory"].set_ylabel("memory, MB")
            if not self.memory:
                axes["memory"].text(
                    0.5, 0.5, "not told by this system", ha="center", transform=axes["memory"].transAxes
                )
        if "drift" in axes:
            _drift(axes["drift"], self.errors, self.flips, beside)
        for name, one in axes.items():
            one.grid(alpha=0.25)
            one.spines[["top", "right"]].set_visible(False)
            one.yaxis.label.set_fontsize(9)
            one.locator_params(axis="x", integer=True)
            if name in ("areas", "memory"):
                one.set_ylim(0, one.get_ylim()[1] * 1.05)
            if name != "areas":
                one.set_xlabel("frames tracked before" if name == "memory" else "frame", fontsize=9)
        figure.align_ylabels()
        with write_atomically(path, make_folder=True) as stream:
            figure.savefig(stream, format=Path(path).suffix.lower()[1:], dpi=120)


def check_file(path: str | os.PathLike[str]) -> None:
    """Refuse what cannot be drawn to.

    Raises:
        ValueError: the file's ending is none of `FORMATS`.
        ImportError: matplotlib is missing.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise ValueError(f"{os.fspath(path)}: a plot is a file that ends in one of {', '.join(FORMATS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError("a plot needs matplotlib: pip install 'samblocks[plots]'") from None


def _drift(axes: Any, errors: Mapping[int, float], flips: Mapping[int, float], beside: str) -> None:
    """Error of the logits on a logarithmic scale; frames with flipped pixels are marked."""
    floor = torch.finfo(torch.float64).eps
    _line(axes, {frame: max(error, floor) for frame, error in errors.items()}, color="#1f6fb4")
    flipped = {frame: max(errors[frame], floor) for frame in sorted(flips) if flips[frame] > 0}
    if flipped:
        axes.scatter(list(flipped), list(flipped.values()), color="#c0392b", s=14, zorder=3)
    most = max(flips.values())
    axes.set_yscale("log")
    axes.set_ylabel("drift of logits")
    axes.set_title(
        f"from {beside}; "
        + (f"red: frames with flipped pixels, {most:.2g} % at most" if flipped else "no pixel flips"),
        fontsize=9,
        loc="left",
    )


def _line(axes: Any, values: Mapping[int, float], **style: Any) -> None:
    places = sorted(values)
    marker = "." if len(places) < 60 else ""
    axes.plot(places, [values[place] for place in places], linewidth=1.4, marker=marker, **style)
