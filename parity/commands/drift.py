"""`parity drift`: how far a tracked film is from upstream's, frame by frame.

Each line is a frame of a step of a film: the logits' error in float32 on both sides, measured against float64, their
ratio R, the largest difference, and what it does to pixels. The longer a clip, the more of it is made from memories:
where errors grew from frame to frame, this is where it would be seen.
"""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from parity.cases import all_cases
from parity.errors import UsageError
from parity.execution.case import Case
from parity.execution.execute import execute
from parity.run.samblocks_library import library as own_library
from parity.verdict.compare import Verdict, rms
from parity.verdict.mask_impact import Masks, impact
from parity.workers import options as worker_options
from parity.workers.registry import REFERENCES
from parity.workers.start import start_clients

HELP = "how far tracked films are from upstream's, frame by frame"

_TRACKED = "_propagate_in_video"


@dataclass(frozen=True)
class Frame:
    """A frame of a tracked film.

    Attributes:
        step: of the film's script.
        number: the frame's.
        ids: the objects.
        ours: [N, 1, H, W], our logits.
        upstream: the reference's.
        truth: the reference's in float64.
    """

    step: str
    number: int
    ids: list[int]
    ours: Tensor
    upstream: Tensor
    truth: Tensor

    @property
    def errors(self) -> tuple[float, float]:
        """Root mean square of our error and of upstream's, as a share of the truth's."""
        size = max(rms(self.truth), torch.finfo(torch.float64).tiny)
        own, other = (rms(side.double() - self.truth) / size for side in (self.ours, self.upstream))
        return own, other

    @property
    def flips(self) -> Masks:
        """What the difference does to pixels."""
        found = impact("masks", self.ours, self.upstream, self.truth)
        assert isinstance(found, Masks)
        return found


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--case", metavar="ID", default="SAM2Model/film_forward", help="a film (default: %(default)s)"
    )
    parser.add_argument(
        "--reference", choices=sorted(REFERENCES), default="meta", metavar="NAME", help="default: meta"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="also draw areas and drift: .png, .svg or .pdf"
    )
    worker_options.add(parser)


def run(options: argparse.Namespace) -> int:
    """Print the table; 1 if a pixel flips beyond upstream's own error, 3 if nothing was compared."""
    case = _film(options.case)
    if options.plot:
        from samblocks.predict.video.plots import check_file

        try:
            check_file(options.plot)
        except (ValueError, ImportError) as error:
            raise UsageError(str(error)) from None
    with ExitStack() as stack:
        clients, missing = start_clients(
            [options.reference], options.references, stack, timeout=options.worker_timeout
        )
        if not clients:
            print(f"{Verdict.NOT_RUN} {options.reference}: {missing[options.reference]}")
            return 3
        inputs = case.tensors()
        replies = [clients[0].execute(case, inputs, lift=lift) for lift in (False, True)]
    for reply in replies:
        if reply.status != "ok":
            print(f"{options.reference} on {case.id}: {reply.message}")
            return 3
    ours = execute(case, own_library(), inputs).outputs
    found = list(frames(ours, replies[0].outputs, replies[1].outputs))
    for line in lines(found, options.reference):
        print(line)
    if options.plot:
        _plot(found, options.plot, f"{case.id}, beside {options.reference}")
    return 1 if any(frame.flips.unexplained for frame in found) else 0


def _film(case_id: str) -> Case:
    films = [each for each in all_cases().values() if each.name.startswith("film_")]
    for case in films:
        if case.id == case_id:
            return case
    raise UsageError(f"--case {case_id}: films are {', '.join(case.id for case in films)}")


def frames(
    ours: Mapping[str, Tensor], upstream: Mapping[str, Tensor], truth: Mapping[str, Tensor]
) -> Iterator[Frame]:
    """Every tracked frame of a film's outputs, in their order."""
    for path, numbers in truth.items():
        step, _, what = path.rpartition("/")
        if what != "frames" or not step.endswith(_TRACKED) or not len(numbers):
            continue
        at = 0
        for number, (count, *ids) in zip(numbers.tolist(), truth[f"{step}/ids"].tolist(), strict=True):
            own, other, exact = (side[f"{step}/masks"][at : at + count] for side in (ours, upstream, truth))
            yield Frame(step.removesuffix(_TRACKED), number, ids[:count], own, other, exact)
            at += count


def lines(found: list[Frame], reference: str) -> Iterator[str]:
    """The table, and what it comes to."""
    yield f"step  frame  objects  our error  {reference:>9}'s      R  max |Δ|  pixels flipped  beyond its error"
    for frame in found:
        own, other = frame.errors
        ratio = own / other if other else float("inf") if own else 1.0
        furthest = float((frame.ours.double() - frame.upstream.double()).abs().max())
        yield (
            f"{frame.step:>4}  {frame.number:>5}  {len(frame.ids):>7}  {own:>9.1e}  {other:>11.1e}  {ratio:>5.2f}  "
            f"{furthest:>7.1e}  {frame.flips.flipped:>14}  {frame.flips.unexplained:>16}"
        )
    if found:
        worst = max(found, key=lambda frame: frame.errors[0])
        flipped, pixels = (
            sum(getattr(frame.flips, name) for frame in found) for name in ("flipped", "pixels")
        )
        yield (
            f"{len(found)} frames: {flipped} of {pixels} pixels flip; our largest error is {worst.errors[0]:.1e} "
            f"of the logits, on frame {worst.number}"
        )


def _plot(found: list[Frame], file: Path, title: str) -> None:
    """Draw the frames as they were tracked last."""
    from samblocks.predict.video.plots import Curves

    curves = Curves(memory=False)
    for frame in found:
        curves.add(frame.number, frame.ids, frame.ours, {}, beside=frame.truth)
    curves.save(file, title=title, beside="upstream in float64")
