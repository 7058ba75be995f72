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
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from samblocks.cli import values
from samblocks.cli.places import check_file, check_folder
from samblocks.errors import counted

if TYPE_CHECKING:
    from samblocks.predict.video.clips import Readable
    from samblocks.predict.video.plots import Curves
    from samblocks.predict.video.predictor import VideoPredictor
    from samblocks.predict.video.video_state import VideoState

HELP = "track objects through a video or a folder of pictures"
INTERRUPTED = 130
DTYPES = ("float32", "bfloat16", "float16")
_ANY_SIDE: Final = 64  # of a model's images: the frames themselves do not depend on it


@dataclass
class Prompt:
    """What is said about an object on a frame."""

    points: list[values.Point] = field(default_factory=list)
    box: values.Box | None = None


Prompts = dict[tuple[str, int], Prompt]


class _Say(argparse.Action):
    """Adds a prompt to the object that was named last."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        said: Any,
        option_string: str | None = None,
    ) -> None:
        if namespace.prompts is None:
            namespace.prompts, namespace.objects = {}, []
        if option_string == "--object":
            namespace.named = said
            namespace.objects.append(said)
            return
        what, frame = said
        prompt = namespace.prompts.setdefault((namespace.named, frame), Prompt())
        if isinstance(what, values.Point):
            prompt.points.append(what)
        elif prompt.box is None:
            prompt.box = what
        else:
            parser.error(
                f"{option_string}: object {namespace.named} has a box on frame {frame} already, and an object has one "
                "box on a frame: name another object before it by --object"
            )


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.set_defaults(prompts=None, objects=[], named="1")
    parser.add_argument(
        "video", type=values.path, metavar="VIDEO|FOLDER", help="a video file, or a folder of pictures"
    )
    parser.add_argument(
        "--model",
        required=True,
        type=values.some,
        metavar="NAME|FILE",
        help="a SAM 2 or 2.1, by name or by its checkpoint",
    )
    parser.add_argument(
        "--object",
        action=_Say,
        type=values.name,
        metavar="ID",
        help="the object that prompts behind it are about",
    )
    parser.add_argument(
        "--point",
        action=_Say,
        type=values.point_on_frame,
        metavar="x,y[,label][@frame]",
        help="a point inside (1) or outside (0) the object",
    )
    parser.add_argument(
        "--box",
        action=_Say,
        type=values.box_on_frame,
        metavar="x0,y0,x1,y1[@frame]",
        help="a box around the object",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=values.path,
        metavar="DIR",
        help="the folder to write, new or empty",
    )
    parser.add_argument(
        "--both-ways", action="store_true", help="track backwards from the first prompted frame, too"
    )
    parser.add_argument(
        "--plot",
        type=values.path,
        metavar="FILE",
        help="draw areas, scores and memory of each frame: .png, .svg or .pdf",
    )
    parser.add_argument(
        "--beside-float64", action="store_true", help="with --plot: track in float64, too, and draw the drift"
    )
    parser.add_argument("--device", help="where to compute, such as cuda; by default the CPU")
    parser.add_argument("--dtype", choices=DTYPES, help="the precision of the model; by default float32")


def run(arguments: argparse.Namespace) -> int:
    """Track, and write masks and the overlay."""
    prompts = _prompts(arguments)
    import torch

    from samblocks.checkpoints import load
    from samblocks.cli.progress import progress
    from samblocks.errors import SamblocksError
    from samblocks.predict.video.clip_writer import ClipWriter
    from samblocks.predict.video.plots import Curves
    from samblocks.predict.video.predictor import VideoPredictor

    try:
        clip = _clip(arguments, prompts)
        writer = ClipWriter(arguments.output, rate=getattr(clip, "rate", 25.0))
        model = load(
            arguments.model,
            device=arguments.device,
            dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
        )
        predictor = VideoPredictor(model)
        if predictor.device.type == "meta":
            raise SamblocksError("--device meta computes nothing: leave it out for the CPU")
        state = predictor.init_state(arguments.video)
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
    print(f"{arguments.output}: {counted(writer.frames, 'frame')}, {counted(len(state.obj_ids), 'object')}")
    return 0


def _prompts(arguments: argparse.Namespace) -> Prompts:
    """What was said, once everything that can be wrong with the arguments alone was looked at."""
    prompts: Prompts = arguments.prompts or {}
    for name in arguments.objects:
        if not any(obj_id == name for obj_id, _ in prompts):
            raise ValueError(f"--object {name} is shown nowhere: give it a --point or --box behind its name")
    if not prompts:
        raise ValueError("there is nothing to track: show an object by --point or --box")
    if arguments.beside_float64 and not arguments.plot:
        raise ValueError("--beside-float64 draws drift: name the plot's file by --plot")
    check_folder(arguments.output)
    if arguments.plot:
        check_file(arguments.plot, "--plot", inputs=[arguments.video])
        if (
            arguments.plot.suffix.lower() == ".png"
            and arguments.plot.resolve().parent == arguments.video.resolve()
        ):
            raise ValueError(
                f"--plot {arguments.plot} would lie among the frames in {arguments.video}: name another folder"
            )
    return prompts


def _clip(arguments: argparse.Namespace, prompts: Prompts) -> Readable:
    """The video, opened before any model is loaded, and every prompt looked at whether it lies on it."""
    from samblocks.predict.video.clips import Readable
    from samblocks.predict.video.plots import check_file as check_plot
    from samblocks.predict.video.sources import open_clip

    if arguments.plot:
        check_plot(arguments.plot)
    clip = open_clip(arguments.video, _ANY_SIDE)
    assert isinstance(clip, Readable)
    for (_, frame), prompt in prompts.items():
        where = f"frame {frame} of {arguments.video}"
        if not clip.has(frame):
            option = "--point" if prompt.points else "--box"
            raise ValueError(
                f"{option} …@{frame}: {arguments.video} has frames 0 to {(clip.count or 0) - 1}, name one of them"
            )
        values.check_inside(
            prompt.points, [prompt.box] if prompt.box else [], (clip.height, clip.width), where
        )
    return clip


def _show(predictor: VideoPredictor, state: VideoState, prompts: Prompts) -> None:
    """Say all prompts, in the order of their frames."""
    for (obj_id, frame), prompt in sorted(prompts.items(), key=lambda said: said[0][1]):
        places, labels = [[x, y] for x, y, _ in prompt.points], [label for _, _, label in prompt.points]
        predictor.add_new_points_or_box(state, frame, obj_id, places or None, labels or None, box=prompt.box)


def _plot(arguments: argparse.Namespace, curves: Curves) -> None:
    """Draw what was tracked, if a plot was asked for and there is something to draw."""
    if arguments.plot and curves.areas:
        title = f"{arguments.video.name}, {Path(arguments.model).name}"
        curves.save(arguments.plot, title=title, beside="the same in float64")
