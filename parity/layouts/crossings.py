"""Files that cross between samblocks and the upstream packages, in both directions, and what they compute.

There: Meta's file of filled weights is converted by us, loaded by the library through its own strict loader, and
run. Back: the library fills a model of its own by its own names, saves it its own way, and runs it; we load that
file. Outputs are equal up to rounding only if every tensor is in its place.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parity.errors import WorkerError
from parity.execution.sizes import LETTERS
from parity.layouts import probe
from parity.layouts.routes import Filled, label
from parity.layouts.row import Row
from parity.verdict.compare import Verdict
from parity.workers.client import interpreter, missing_environment
from parity.workers.one_request import ask
from parity.workers.process import TIMEOUT
from samblocks.checkpoints import convert_file, load
from samblocks.checkpoints.reading.read import read
from samblocks.errors import SamblocksError

BOUND = 1e-4
"""Largest difference, relative to the output's largest value: far above rounding, far below a wrong tensor."""


@dataclass(frozen=True)
class Crossing:
    """A library and the kind of file that it reads and writes."""

    library: str
    layout: str
    model_class: str | None = None
    file: str = "model.safetensors"

    @property
    def name(self) -> str:
        """As the table names it."""
        return f"{self.library} {self.model_class or ''}".strip()


def crossings(variant: str) -> tuple[Crossing, ...]:
    """The libraries that have a variant."""
    short = variant.removeprefix("sam_vit_")
    if variant == "mobile_sam":
        return (Crossing("ultralytics", "ultralytics", file="mobile_sam.pt"),)
    if variant.startswith("slimsam"):
        return (Crossing("transformers", "transformers", "SamModel"),)
    if variant.startswith("sam_hq"):
        own = Crossing("segment-anything-hq", "meta", file="model.pth")
        return (
            (own,)
            if variant.endswith("tiny")
            else (own, Crossing("transformers", "transformers", "SamHQModel"))
        )
    if probe.family(variant) == "sam":
        return (
            Crossing("segment-anything", "meta", file="model.pth"),
            Crossing("ultralytics", "ultralytics", file=f"sam_{short}.pt"),
            Crossing("transformers", "transformers", "SamModel"),
            Crossing("timm", "timm"),
        )
    version, _, size = variant.partition("_hiera_")
    return (
        Crossing("sam2", "meta", file="model.pt"),
        Crossing("ultralytics", "ultralytics", file=f"{version}_{LETTERS[size]}.pt"),
        Crossing("transformers", "transformers", "Sam2VideoModel"),
        Crossing("transformers", "transformers", "Sam2Model"),
        Crossing("timm", "timm"),
    )


def prove(
    variant: str,
    folder: Path,
    references: Path | None,
    environment: dict[str, object],
    *,
    timeout: float = TIMEOUT,
) -> Iterator[Row]:
    """Cross with every library that has the variant.

    Args:
        variant: the variant.
        folder: where files may be written; what was written is removed.
        references: the references' environment; None for the usual place.
        environment: the libraries' versions are added to it.
        timeout: seconds that each step of a library's start may take.

    Yields:
        Two rows for each library and class.
    """
    python = interpreter(references)
    if python is None:
        yield Row(variant, "meta", "all libraries", 0, 0, None, Verdict.NOT_RUN, missing_environment())
        return
    given = probe.inputs(variant)
    original = folder / "original.pt"
    Filled(variant).write(original)
    try:
        ours = probe.outputs(load(original), variant, given)
        for crossing in crossings(variant):
            place = folder / "crossing"
            place.mkdir()
            try:
                yield from _cross(
                    crossing,
                    variant,
                    original,
                    ours,
                    given,
                    place / crossing.file,
                    python,
                    environment,
                    timeout,
                )
            finally:
                for file in sorted(place.rglob("*"), reverse=True):
                    file.rmdir() if file.is_dir() else file.unlink()
                place.rmdir()
    finally:
        original.unlink()


def _cross(
    crossing: Crossing,
    variant: str,
    original: Path,
    ours: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    file: Path,
    python: Path,
    environment: dict[str, object],
    timeout: float,
) -> Iterator[Row]:
    request: dict[str, Any] = {
        "library": crossing.library,
        "variant": variant,
        "model_class": crossing.model_class,
        "file": str(file.absolute()),
        "threads": torch.get_num_threads(),
    }
    form = label(crossing.layout, crossing.model_class, file.suffix)

    def there() -> tuple[Verdict, str]:
        convert_file(original, file, to=crossing.layout, model_class=crossing.model_class, drop=True)
        answer, theirs = ask(
            crossing.library, python, _UPSTREAM, {**request, "save": False}, given, timeout=timeout
        )
        environment[crossing.library] = answer["version"]
        own = f"; {', '.join(answer['own'])} are the library's own" if answer["own"] else ""
        return _judge(ours if crossing.layout != "timm" else _encoder(original, variant, given), theirs, own)

    def back() -> tuple[Verdict, str]:
        _, theirs = ask(
            crossing.library, python, _UPSTREAM, {**request, "save": True}, given, timeout=timeout
        )
        return _judge(_loaded(crossing, file, variant, given), theirs, "")

    yield _row(variant, form, crossing.name, file, there, "loaded strictly")
    written = file.stat().st_size if file.exists() else None
    made = _row(variant, crossing.name, "samblocks", file, back, "its own file")
    yield made if file.suffix != ".safetensors" else _with_size(made, written)


_UPSTREAM = "parity.references.layouts.cross"


def _row(
    variant: str, source: str, target: str, file: Path, show: Callable[[], tuple[Verdict, str]], how: str
) -> Row:
    try:
        verdict, seen = show()
    except (WorkerError, SamblocksError) as error:
        verdict, seen = Verdict.DIVERGED, str(error)
    held = file.exists()
    size = file.stat().st_size if held else 0
    return Row(
        variant, source, target, len(read(file).tensors) if held else 0, size, None, verdict, f"{how}: {seen}"
    )


def _with_size(made: Row, ours: int | None) -> Row:
    """Beside the size of the library's own file, in place of a published one, that of the file we wrote."""
    if ours == made.nbytes:
        return made
    return Row(
        made.variant,
        made.source,
        made.target,
        made.tensors,
        made.nbytes,
        None,
        made.verdict,
        f"{made.seen}; ours has {ours} bytes",
    )


def _judge(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], more: str) -> tuple[Verdict, str]:
    """Compare every output that the library gives with ours of the same name."""
    worst, where = 0.0, ""
    for name, value in theirs.items():
        own = ours[name]
        if _bare(own) != _bare(value):
            return Verdict.DIVERGED, f"{name} is {tuple(value.shape)} there, {tuple(own.shape)} here"
        difference = (own.reshape(value.shape) - value).abs().max() / value.abs().max()
        if not difference <= worst:
            worst, where = float(difference), name
    if not worst <= BOUND:
        return Verdict.DIVERGED, f"{where} differs by {worst:.1e}"
    how = f"{len(theirs)} outputs, " + (f"within {worst:.0e} ({where})" if worst else "all bit-equal")
    return (Verdict.WITHIN if worst else Verdict.EXACT), how + more


def _bare(tensor: Tensor) -> tuple[int, ...]:
    """The shape without leading ones: libraries differ in axes of batch and object."""
    sizes = list(tensor.shape)
    while sizes[:1] == [1]:
        del sizes[0]
    return tuple(sizes)


def _loaded(crossing: Crossing, file: Path, variant: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our outputs with the weights of a library's own file."""
    if crossing.layout == "timm":
        return _encoder(file, variant, given)
    if crossing.model_class == "Sam2Model":
        return _image_half(file, variant, given)
    return probe.outputs(load(file), variant, given)


@torch.no_grad()
def _encoder(file: Path, variant: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What timm's models hold: SAM's image encoder, or each stage of SAM 2's trunk."""
    if probe.family(variant) == "sam":
        return {"image": load(file, component="image_encoder")(given["image"])}
    stages = load(file, component="trunk", variant=variant)(given["image"])
    return {f"stage_{number}": stage for number, stage in enumerate(stages)}


@torch.no_grad()
def _image_half(file: Path, variant: str, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a Sam2Model holds, part by part."""
    parts: list[Any] = [
        load(file, component=part, variant=variant)
        for part in ("image_encoder", "prompt_encoder", "mask_decoder")
    ]
    encoder, prompts, decoder = parts
    levels = encoder(given["image"])["backbone_fpn"]
    made = probe.sam2_decoder(prompts, decoder, given)
    made |= {
        "level_0": decoder.conv_s0(levels[0]),
        "level_1": decoder.conv_s1(levels[1]),
        "level_2": levels[2],
    }
    return made | {"no_mem_embed": read(file).get("no_memory_embedding")}
