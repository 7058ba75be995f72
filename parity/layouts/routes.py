"""Every layout that a variant exists in, written from Meta's file and read back, without any upstream package."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor

from parity.execution import fill
from parity.layouts.published import published_size
from parity.layouts.row import Row
from parity.verdict.compare import Verdict
from samblocks.checkpoints import convert, convert_file, inspect
from samblocks.checkpoints.reading.read import read
from samblocks.checkpoints.tensor_source import TensorSource
from samblocks.checkpoints.writing.write import write
from samblocks.errors import counted
from samblocks.layouts import LAYOUTS, TensorInfo, classes_of, meta_tensors, variants_of
from samblocks.variants import VARIANTS

_NAMELESS = "checkpoint"
"""What every file is called when it is recognised: the name tells nothing."""

_IMAGE_HALF = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")


class Filled:
    """Meta's tensors of a variant with values by name, and a checksum of each that was given out."""

    def __init__(self, variant: str) -> None:
        self.tensors = meta_tensors(VARIANTS[variant])
        self.sums: dict[str, int] = {}

    def get(self, name: str) -> Tensor:
        """One tensor; a counter gets a number of its own."""
        info = self.tensors[name]
        if info.dtype == "F32":
            made = fill.tensor(name, info.shape)
        else:
            made = torch.full(info.shape, crc32(name.encode()) % 100000)
        self.sums[name] = _sum(made)
        return made

    def write(self, path: Path) -> None:
        """Write Meta's file with Meta's envelope."""
        write(
            path, TensorSource(self.tensors, self.get, "model" if "maskmem_tpos_enc" in self.tensors else "")
        )


def prove(variant: str, folder: Path) -> Iterator[Row]:
    """Show that a variant crosses into every layout that has it, and back.

    Args:
        variant: the variant.
        folder: where files may be written; what was written is removed.

    Yields:
        Two rows for each layout and class.
    """
    own, row = Filled(variant), VARIANTS[variant]
    original, base = folder / "meta.pt", folder / "base.safetensors"
    own.write(original)
    _write_zeros(base, own.tensors)
    try:
        for layout in LAYOUTS:
            if row in variants_of(layout):
                for model_class in classes_of(layout, row):
                    yield from _route(own, original, base, layout, model_class, variant)
    finally:
        original.unlink()
        base.unlink()


def _route(
    own: Filled, original: Path, base: Path, layout: str, model_class: str | None, variant: str
) -> Iterator[Row]:
    ending = ".pt" if layout == "ultralytics" else ".safetensors"
    there, nameless = original.with_name("there" + ending), original.with_name(_NAMELESS)
    done = convert_file(original, there, to=layout, model_class=model_class, drop=True)
    there.rename(nameless)
    try:
        size = nameless.stat().st_size
        whole = model_class != "Sam2Model"
        published = published_size(layout, variant) if whole and ending == ".safetensors" else None
        name = label(layout, model_class, ending)
        wrong = _recognised(nameless, layout, model_class, variant)
        if published not in (None, size):
            wrong.append("not the published size")
        shown = (done.tensors, size, published)
        yield Row(variant, "meta .pt", name, *shown, *_verdict(wrong, "recognised without its name"))
        yield Row(
            variant,
            name,
            "meta",
            *shown[:2],
            None,
            *_verdict(*_came_back(own, nameless, base, layout, model_class)),
        )
    finally:
        nameless.unlink()


def label(layout: str, model_class: str | None, ending: str) -> str:
    """A layout as the table names it."""
    return f"{layout} {model_class or ''}".strip() + f" {ending}"


def _recognised(file: Path, layout: str, model_class: str | None, variant: str) -> list[str]:
    """What `inspect` says wrongly about a file without a name."""
    report, wrong = inspect(file), []
    recognised = "meta" if layout == "ultralytics" else layout
    if (report.layout, report.model_class) != (recognised, model_class):
        wrong.append(f"taken for {report.layout} {report.model_class}")
    version_blind = layout == "timm" or model_class == "Sam2Model"
    size = variant.partition("_hiera_")[2]
    candidates = (f"sam2_hiera_{size}", f"sam2.1_hiera_{size}") if version_blind and size else (variant,)
    if report.candidates != candidates:
        wrong.append(f"taken for {', '.join(report.candidates)}")
    if not report.complete:
        wrong.append("not wholly explained")
    if sum(row.nbytes for row in report.rows) != report.tensor_bytes:
        wrong.append("bytes are lost in the report")
    return wrong


def _came_back(
    own: Filled, file: Path, base: Path, layout: str, model_class: str | None
) -> tuple[list[str], str]:
    """Read a file back into Meta's layout over a base of zeros, and compare with what was written first."""
    there = read(file)
    state = {name: there.get(name) for name in there.tensors}
    back = convert(state, "meta", drop=True, base=base)
    held = _held(own.tensors, layout, model_class)
    wrong = [] if list(back) == list(own.tensors) else ["other names, or another order"]
    changed = [name for name in held if _sum(back[name]) != own.sums[name]]
    if changed:
        wrong.append(f"{counted(len(changed), 'tensor')} changed, such as {changed[0]}")
    leaked = [name for name in back.keys() - held if back[name].any()]
    if leaked:
        wrong.append(f"{counted(len(leaked), 'tensor')} came from nowhere, such as {leaked[0]}")
    return wrong, f"{len(held)} of {len(own.tensors)} tensors, bit for bit"


def _held(tensors: Mapping[str, TensorInfo], layout: str, model_class: str | None) -> set[str]:
    """Which of Meta's tensors a layout has a place for."""
    sam2 = "maskmem_tpos_enc" in tensors
    holds: Callable[[str], bool] = lambda name: True  # noqa: E731
    if layout == "timm":
        part = "image_encoder.trunk." if sam2 else "image_encoder."
        holds = lambda name: name.startswith(part)  # noqa: E731
    elif layout == "muggled":
        holds = lambda name: name != "no_mem_pos_enc"  # noqa: E731
    elif model_class == "Sam2Model":
        holds = lambda name: name.startswith(_IMAGE_HALF)  # noqa: E731
    return {name for name in tensors if holds(name)}


def _sum(tensor: Tensor) -> int:
    """A checksum of shape and bits."""
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
    return crc32(raw, crc32(repr(tuple(tensor.shape)).encode()))


def _verdict(wrong: list[str], seen: str) -> tuple[Verdict, str]:
    return (Verdict.DIVERGED, "; ".join(wrong)) if wrong else (Verdict.EXACT, seen)


def _write_zeros(path: Path, tensors: Mapping[str, TensorInfo]) -> None:
    """Meta's tensors, all zero, in a file that takes no room where the system has sparse files."""
    from samblocks.checkpoints.writing.write_safetensors import lay_out

    head, _, size = lay_out(tensors)
    with path.open("wb") as stream:
        stream.write(head)
        stream.truncate(size)
