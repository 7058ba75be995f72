"""Hold a file against a model: what each tensor becomes, what is missing, and the plan that carries it out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Final

import torch

from samblocks.checkpoints import published
from samblocks.checkpoints.advice import merge_first
from samblocks.checkpoints.boundary import boundary
from samblocks.checkpoints.component_selection import component_path
from samblocks.checkpoints.reading.read import Checkpoint
from samblocks.checkpoints.reading.shards import sizes_beside
from samblocks.checkpoints.report import Fact, Gap, LoadReport, Row
from samblocks.checkpoints.resize import policy_for
from samblocks.errors import CheckpointError, LayoutError
from samblocks.image_size import ImageSize, Sizes
from samblocks.layouts import Detection, Plan, Step, TensorInfo, detect, plan, table
from samblocks.layouts.cousins import not_supported, same_tensors
from samblocks.layouts.match import FIRST_LAYERS
from samblocks.layouts.scope import beside_model, beside_part
from samblocks.layouts.tensors import DTYPE_NAMES, WEIGHT_DTYPES, is_stored_as
from samblocks.variants import Variant

_STATUS: Final = {
    "used": "used",
    "renamed": "renamed",
    "packed": "packed",
    "unpacked": "packed",
    "deduplicated": "packed",
    "duplicated": "packed",
    "reshaped": "converted",
    "dropped": "dropped",
    "unexplained": "unexplained",
}
_BUFFERS: Final = re.compile(
    r"(.*\.)?(positional_encoding_gaussian_matrix|running_mean|running_var|num_batches_tracked)"
)


@dataclass(frozen=True, slots=True)
class Request:
    """What a file is to become.

    Args:
        row: the variant.
        component: a part of it by its short name, or several with "+" between them; None for all.
        sizes: of the model's images and memory, as far as they are not what it was released with.
        dtype: of the loaded weights; None keeps what the file has.
    """

    row: Variant
    component: str | None = None
    sizes: Sizes = field(default_factory=Sizes)
    dtype: torch.dtype | None = torch.float32

    @property
    def prefix(self) -> str:
        """What stands in front of the part's names in the whole model."""
        return f"{component_path(self.component, self.row)}." if self.component else ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A report, with the plan and the shapes that carrying it out needs."""

    report: LoadReport
    plan: Plan
    wanted: Mapping[str, TensorInfo]


def recognise(file: Checkpoint) -> Detection:
    """What a file holds; where it fits nothing well, what it is nearest to."""
    try:
        with boundary(file.path, "read"):
            return detect(file.tensors, strict=False)
    except LayoutError as error:
        hint = not_supported(file.tensors) or merge_first(file.tensors)
        raise CheckpointError(
            f"{file.path} holds no model that is known here: {error}{hint and f'; {hint}'}."
        ) from None


def sizes_taken(file: Checkpoint, found: Detection, given: Sizes) -> Sizes:
    """The sizes that a model is made with: what was given, else what the list of checkpoints or a configuration says.

    Tensors that tell their own sizes are believed before these are.
    """
    image_size, num_maskmem = sizes_beside(file.path)
    image_size = published.stated_image_size(file.path, file.file_bytes) or image_size
    if (
        given.image_size is None
        and found.image_size is None
        and image_size not in (None, found.rows[0].image_size)
    ):
        given = given._replace(image_size=image_size)
    if given.num_maskmem is None and num_maskmem is not None and num_maskmem == found.num_maskmem:
        given = given._replace(num_maskmem=num_maskmem)
    return given


def explain(
    file: Checkpoint, found: Detection, request: Request, wanted: Mapping[str, TensorInfo]
) -> Explanation:
    """Account for every tensor of the file and of the model.

    Args:
        file: the file.
        found: what it was recognised as.
        request: what it is to become.
        wanted: the tensors that are to be filled, by their names in the whole model.

    Raises:
        CheckpointError: the file's layout does not exist for the variant.
    """
    try:
        to_meta = plan(file.tensors, source=found.layout, target="meta", row=request.row)
    except LayoutError as error:
        raise CheckpointError(f"{file.path} cannot be read as {request.row.name}: {error}.") from None
    resized, misshapen = _shapes(to_meta, wanted, request, found)
    problems = {gap.name: gap.why for gap in misshapen}
    rows = {row.name: row for step in to_meta.steps for row in _rows(file, step, wanted, request, problems)}
    for name, why in _beside(to_meta, found, request).items():
        rows[name] = replace(rows[name], status="dropped", why=why)
    fitting = {name for name in to_meta.infos if name in wanted and name not in problems}
    invented = [
        Gap(name, to_meta.infos[name].shape, None, step.why)
        for step in to_meta.of_kind("invented")
        for name in step.targets
        if name in wanted or request.component is None
    ]
    report = LoadReport(
        path=file.path,
        container=file.container,
        file_bytes=file.file_bytes,
        envelope=file.envelope,
        prefix=found.prefix,
        layout=found.layout,
        model_class=found.model_class,
        candidates=found.candidates,
        variant=request.row.name,
        component=request.component,
        evidence=(*found.evidence, *_kin(file, found)),
        dtypes=dict(Counter(info.dtype for info in file.tensors.values()).most_common()),
        parameters=sum(prod(wanted[name].shape) for name in fitting if not _BUFFERS.fullmatch(name)),
        rows=tuple(rows[name] for name in file.tensors),
        missing=tuple(Gap(name, info.shape) for name, info in wanted.items() if name not in to_meta.infos),
        misshapen=misshapen,
        resized=resized,
        invented=tuple(invented),
        ignored=file.ignored,
        stored_bytes=file.stored_bytes,
        facts=tuple(_facts(found, request)),
        metadata=dict(file.metadata),
    )
    return Explanation(report, to_meta, wanted)


def _kin(file: Checkpoint, found: Detection) -> list[str]:
    """What the file may be beside, or in place of, a released model."""
    same = same_tensors(found.candidates) if found.exact and found.component is None else ""
    return [sentence for sentence in (not_supported(file.tensors), same) if sentence]


def _beside(to_meta: Plan, found: Detection, request: Request) -> dict[str, str]:
    """What nothing is known about and is no part of what was asked for, with the reason."""
    unknown = [name for step in to_meta.of_kind("unexplained") for name in step.sources]
    if found.rivals or not unknown:
        return {}
    if request.component is None:
        under = f"not under {found.prefix}, where the model is"
        return dict.fromkeys(beside_model(unknown, to_meta.prefix), under)
    rules = table(found.layout, request.row)
    aside = beside_part(unknown, to_meta.prefix, rules, request.row, request.component)
    return dict.fromkeys(aside, f"not part of {request.component}")


def _shapes(
    to_meta: Plan, wanted: Mapping[str, TensorInfo], request: Request, found: Detection
) -> tuple[tuple[Gap, ...], tuple[Gap, ...]]:
    """The tensors that are resized because it was asked for, and those that do not fit."""
    resized, misshapen = [], []
    for name, (shape, dtype) in to_meta.infos.items():
        if name not in wanted:
            continue
        need = wanted[name]
        if not is_stored_as(dtype, need.dtype):
            misshapen.append(
                Gap(name, need.shape, shape, f"it is stored as {dtype}, which is no dtype for it")
            )
        elif shape != need.shape:
            policy = policy_for(name, shape, need.shape)
            if policy is not None and getattr(request.sizes, policy.argument) is not None:
                resized.append(Gap(name, need.shape, shape, policy.name))
            else:
                fits = policy is not None or (name in FIRST_LAYERS and len(shape) == len(need.shape))
                misshapen.append(Gap(name, need.shape, shape, _advice(name, shape, found) if fits else ""))
    return tuple(resized), tuple(misshapen)


def _advice(name: str, shape: tuple[int, ...], found: Detection) -> str:
    """The argument with which a tensor of another size would fit."""
    if name in FIRST_LAYERS:
        return f"it fits with in_chans={shape[1]}"
    if name == "maskmem_tpos_enc":
        return f"it fits with num_maskmem={shape[0]}"
    return f"it fits with image_size={found.image_size or 8 * (shape[0] + 1)}"


def _rows(
    file: Checkpoint,
    step: Step,
    wanted: Mapping[str, TensorInfo],
    request: Request,
    problems: Mapping[str, str],
) -> list[Row]:
    """The rows of a step's tensors."""
    status, why = _STATUS.get(step.kind, "converted"), step.why
    targets = tuple(name for name in step.targets if name in wanted)
    if step.targets and not targets:
        status, why = (
            "dropped",
            f"not part of {request.component}" if request.component else "not in the model",
        )
    elif any(name in problems for name in targets):
        status = "unexplained"
        why = next(problems[name] for name in targets if name in problems) or "its shape is not the model's"
    rows = []
    for name in step.sources:
        shape, dtype = file.tensors[name]
        ops = [step.op] if step.op and status not in ("dropped", "unexplained") else []
        mine, to = status, _loaded_as(dtype, request.dtype)
        if targets and status not in ("dropped", "unexplained"):
            ops += [f"{dtype} -> {to}"] if to != dtype else []
            need = wanted[targets[0]].shape
            if (
                len(step.sources) == len(targets) == 1
                and shape != need
                and policy_for(targets[0], shape, need)
            ):
                ops.append("resized")
            if mine == "used" and ops:
                mine = "converted"
        rows.append(Row(name, shape, dtype, file.nbytes(name), mine, targets, ", ".join(ops), why))
    return rows


def _loaded_as(dtype: str, wanted: torch.dtype | None) -> str:
    return DTYPE_NAMES[wanted] if wanted is not None and dtype in WEIGHT_DTYPES else dtype


def _facts(found: Detection, request: Request) -> list[Fact]:
    """Settings of the variant, or of each candidate where they differ."""
    variants = found.rows if request.row in found.rows else (request.row,)
    tables = [row.facts() for row in variants]
    sizes = request.sizes
    facts = []
    for name, value in request.row.facts().items():
        origin = f"what {request.row.name} was released with"
        if any(table.get(name, value) != value for table in tables):
            origin += f" (the tensors fit {', '.join(row.name for row in variants)} too, which differ in it)"
        if name == "image_size" and sizes.image_size:
            value, origin = sizes.image_size, _size_origin(found.image_size, sizes.image_size, name)
        facts.append(Fact(name, value, origin))
    frames = sizes.num_maskmem or found.num_maskmem
    if frames is not None:
        facts.append(Fact("num_maskmem", frames, _size_origin(found.num_maskmem, frames, "num_maskmem")))
    return facts


def _size_origin(found: ImageSize | None, taken: ImageSize, argument: str) -> str:
    return (
        "the shapes of the file's tensors"
        if taken == found
        else f"{argument}, as an argument, in checkpoints.lock or in a configuration beside the file"
    )
