"""Say what a checkpoint file is without loading it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from samblocks.checkpoints import published
from samblocks.checkpoints.advice import merge_first
from samblocks.checkpoints.boundary import boundary
from samblocks.checkpoints.explain import Request, explain, recognise, sizes_taken
from samblocks.checkpoints.reading.read import Checkpoint, read
from samblocks.checkpoints.report import LoadReport
from samblocks.errors import CheckpointError, counted
from samblocks.files import sha256 as sha256_of
from samblocks.image_size import Sizes
from samblocks.layouts import Detection, TensorInfo, meta_tensors, table
from samblocks.layouts.components import component_of, family_of
from samblocks.variants import Variant


def inspect(path: str | os.PathLike[str], *, sha256: bool = False, envelope: str | None = None) -> LoadReport:
    """Explain a checkpoint file: layout, variant, and what would become of each tensor.

    Only the file's tables are read, so it takes well under a second for a file of any size. A file that fits
    no model exactly is explained too: as the variant that it is nearest to, with what is missing, unexplained
    or misshapen; `report.complete` is False then.

    Args:
        path: the file.
        sha256: compute its hash, which reads all of it, and look that up in checkpoints.lock. Otherwise the
            file is looked up by its size and its tensors.
        envelope: the key of the table that is meant where a file holds several, such as `"net_ema"`, with dots
            between those of nested ones; or what the names that are meant begin with.

    Returns:
        The report; `str(report)` lays it out for people, `report.to_json()` for programs.

    Raises:
        CheckpointError: the file cannot be read, or holds no tensor of any model that is known here.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"model": {"module.no_mem_embed": torch.ones(1, 1, 256)}}, f"{folder}/part.pt")
    ...     report = inspect(f"{folder}/part.pt")
    >>> report.layout, report.envelope, report.rows[0].status, report.rows[0].targets
    ('meta', 'model', 'renamed', ('no_mem_embed',))
    """
    file = read(path, mmap=False, envelope=envelope)
    with boundary(file.path, "explained"):
        return _report(file, sha256)


def _report(file: Checkpoint, sha256: bool) -> LoadReport:
    """See `inspect`."""
    found = recognise(file)
    row = found.rows[0]
    sizes = sizes_taken(file, found, Sizes(found.image_size, found.num_maskmem, found.in_chans))
    request = Request(row, found.component, sizes)
    tensors = meta_tensors(row, **sizes._asdict())
    held = _held(found, row, tensors)
    report = explain(file, found, request, held).report
    if rest := len(tensors.keys() - held.keys() - {gap.name for gap in report.invented}):
        kind = (
            f"the parts {found.component}"
            if found.component
            else f"a {found.model_class or found.layout} file"
        )
        report = replace(
            report, evidence=(*report.evidence, f"not in {kind}: {counted(rest, 'tensor')} of the model")
        )
    if merge := merge_first(entry.name for entry in report.unexplained):
        report = replace(report, evidence=(*report.evidence, merge))
    digest = sha256_of(file.path) if sha256 else None
    names = _known(report, digest)
    by = ("sha256" if digest else "size and tensors") if names else ""
    return replace(report, sha256=digest, locked_as=names, locked_by=by)


def _held(found: Detection, row: Variant, tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors of the model that a file of this kind holds: those that its layout has a place for."""
    rules = table(found.layout, row, found.model_class)
    parts = set((found.component or "").replace("image_encoder", "image_encoder+trunk+neck").split("+"))
    family = family_of(row)
    return {
        name: info
        for name, info in tensors.items()
        if rules.to_other(name) and (found.component is None or component_of(name, family) in parts)
    }


def _known(report: LoadReport, digest: str | None) -> tuple[str, ...]:
    """Names of the locked files that this one is, by its hash or else by what can be seen."""
    try:
        if digest is not None:
            return tuple(entry.name for entry in published.by_sha256(digest))
        return tuple(
            entry.name
            for entry in published.by_size(report.file_bytes)
            if entry.tensors == len(report.rows) and entry.variant in report.candidates
        )
    except CheckpointError:
        return ()  # an installation without the list can still inspect files
