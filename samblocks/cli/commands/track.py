r"""`samblocks track VIDEO|FOLDER --model NAME|FILE --point x,y@frame -o DIR`: objects through a video.

Prompts belong to the object that --object named last, which is 1 at first. A point is inside the object unless its
label is 0; without @frame a prompt is for the first frame.

  samblocks track clip.mp4 --model sam2.1_hiera_tiny --point 420,310 -o tracked
  samblocks track clip.mp4 --model sam2.1_hiera_tiny --box 75,20,300,240@10 --both-ways --plot clip.png -o tracked
  samblocks track frames --model model.pt --object cat --box 30,40,180,200 --point 90,90,0 \
      --object dog --point 300,120@25 -o tracked

DIR gets a mask of each object and frame, and an overlay to look at: a clip, or pictures where PyAV is missing. --plot
draws areas, scores and memory frame by frame; with --beside-float64 also how far the masks drift from those of a second
run in float64. Stopped by Ctrl-C it keeps what is done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samblocks.predict.video.plots import Curves
    from samblocks.predict.video.predictor import VideoPredictor
    from samblocks.predict.video.video_state import VideoState

HELP = "track objects through a video or a folder of pictures"
INTERRUPTED = 130
DTYPES = ("float32", "bfloat16", "float16")


@dataclass
class Prompt:
    """What is said about an object on a frame."""

    points: list[tuple[float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None


Prompts = dict[tuple[str, int], Prompt]


class _Say(argparse.Action):
    """Adds a prompt to the object that was named last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if namespace.prompts is None:
            namespace.prompts = {}
        if option_string == "--object":
            namespace.named = str(values)
            return
        try:
            numbers, frame = _numbers(str(values))
            prompt = namespace.prompts.setdefault((namespace.named, frame), Prompt())
            if option_string == "--point":
                _add_point(prompt, numbers)
            elif len(numbers) != 4 or prompt.box is not None:
                raise ValueError("a box has four numbers, x0,y0,x1,y1, and an object has one box on a frame")
            else:
                prompt.box = (numbers[0], numbers[1], numbers[2], numbers[3])
        except ValueError as error:
            parser.error(f"{option_string} {values}: {error}")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.set_defaults(prompts=None, named="1")
    parser.add_argument("video", metavar="VIDEO|FOLDER", help="a video file, or a folder of pictures")
    parser.add_argument(
        "--model", required=True, metavar="NAME|FILE", help="a SAM 2 or 2.1, by name or by its checkpoint"
    )
    parser.add_argument(
        "--object", action=_Say, metavar="ID", help="the object that prompts behind it are about"
    )
    parser.add_argument(
        "--point",
        action=_Say,
        metavar="x,y[,label][@frame]",
        help="a point inside (1) or outside (0) the object",
    )
    parser.add_argument("--box", action=_Say, metavar="x0,y0,x1,y1[@frame]", help="a box around the object")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="the folder to write, new or empty"
    )
    parser.add_argument(
        "--both-ways", action="store_true", help="track backwards from the first prompted frame, too"
    )
    parser.add_argument(
        "--plot", metavar="FILE", help="draw areas, scores and memory of each frame: .png, .svg or .pdf"
    )
    parser.add_argument(
        "--beside-float64", action="store_true", help="with --plot: track in float64, too, and draw the drift"
    )
    parser.add_argument("--device", help="where to compute, such as cuda; by default the CPU")
    parser.add_argument("--dtype", choices=DTYPES, help="the precision of the model; by default float32")


def run(arguments: argparse.Namespace) -> int:
    """Track, and write masks and the overlay."""
    import torch

    from samblocks.checkpoints import load
    from samblocks.cli.progress import progress
    from samblocks.errors import SamblocksError
    from samblocks.predict.video.clip_writer import ClipWriter
    from samblocks.predict.video.clips import Readable
    from samblocks.predict.video.plots import Curves, check_file
    from samblocks.predict.video.predictor import VideoPredictor

    prompts: Prompts = arguments.prompts or {}
    if not prompts:
        raise SamblocksError("there is nothing to track: show an object by --point or --box")
    if arguments.beside_float64 and not arguments.plot:
        raise SamblocksError("--beside-float64 draws drift: name the plot's file by --plot")
    try:
        if arguments.plot:
            check_file(arguments.plot)
        model = load(
            arguments.model,
            device=arguments.device,
            dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
        )
        predictor = VideoPredictor(model)
        state = predictor.init_state(arguments.video)
        clip = state.clip
        assert isinstance(clip, Readable)
        writer = ClipWriter(arguments.output, rate=getattr(clip, "rate", 25.0))
        _show(predictor, state, prompts)
        exact: tuple[VideoPredictor, VideoState] | None = None
        if arguments.beside_float64:
            wide = VideoPredictor(deepcopy(model).double())
            exact = wide, wide.init_state(arguments.video)
            _show(*exact, prompts)
    except (ValueError, ImportError) as error:
        raise SamblocksError(str(error)) from None
    curves = Curves(predictor.device)
    first = min(frame for _, frame in prompts)
    total = state.num_frames or 0
    count = total if arguments.both_ways else total - first
    try:
        with writer, progress("frames", count) as shown:
            ways = [False, True] if arguments.both_ways and first else [False]
            for reverse in ways:
                start = first if not reverse else None
                found = predictor.propagate_in_video(state, start, reverse=reverse)
                truths = (
                    exact[0].propagate_in_video(exact[1], start, reverse=reverse) if exact else repeat(None)
                )
                for (frame, ids, masks), truth in zip(found, truths, strict=False):
                    if reverse and frame == first:
                        continue
                    if arguments.plot:
                        curves.add(frame, ids, masks, state.object_scores(frame), truth and truth[2])
                    writer.write(frame, clip.pixels(frame), ids, (masks[:, 0] > 0).cpu().numpy())
                    shown.advance()
    except KeyboardInterrupt:
        kept = (
            f"{writer.frames} of {count} frames are in {arguments.output}"
            if writer.frames
            else "nothing is kept"
        )
        print(f"samblocks: interrupted, {kept}", file=sys.stderr)
        _plot(arguments, curves)
        return INTERRUPTED
    _plot(arguments, curves)
    objects = len(state.obj_ids)
    print(f"{arguments.output}: {writer.frames} frames, {objects} object{'s' if objects > 1 else ''}")
    return 0


def _show(predictor: VideoPredictor, state: VideoState, prompts: Prompts) -> None:
    """Say all prompts, in the order of their frames."""
    for (obj_id, frame), prompt in sorted(prompts.items(), key=lambda said: said[0][1]):
        predictor.add_new_points_or_box(
            state, frame, obj_id, prompt.points or None, prompt.labels or None, box=prompt.box
        )


def _plot(arguments: argparse.Namespace, curves: Curves) -> None:
    """Draw what was tracked, if a plot was asked for and there is something to draw."""
    if arguments.plot and curves.areas:
        title = f"{Path(arguments.video).name}, {Path(arguments.model).name}"
        curves.save(arguments.plot, title=title, beside="the same in float64")


def _numbers(text: str) -> tuple[Sequence[float], int]:
    """The numbers of a prompt, and its frame."""
    said, at, frame = text.partition("@")
    if at and not frame.isdecimal():
        raise ValueError("behind @ stands a frame's number, from 0 on")
    try:
        return [float(part) for part in said.split(",")], int(frame or 0)
    except ValueError:
        raise ValueError("write numbers with commas between them") from None


def _add_point(prompt: Prompt, numbers: Sequence[float]) -> None:
    if len(numbers) not in (2, 3) or (len(numbers) == 3 and numbers[2] not in (0, 1)):
        raise ValueError("a point is x,y or x,y,label, where the label is 0 or 1")
    prompt.points.append((numbers[0], numbers[1]))
    prompt.labels.append(int(numbers[2]) if len(numbers) == 3 else 1)
