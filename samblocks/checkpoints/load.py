"""From a checkpoint file to a model: recognised, explained, and then assigned without a second copy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, overload

import torch
from torch import Tensor, nn

from samblocks.checkpoints import published
from samblocks.checkpoints.advice import whole_parts
from samblocks.checkpoints.boundary import boundary
from samblocks.checkpoints.component_selection import (
    choose_variant,
    component_at,
    component_path,
    is_component,
    named_variant,
)
from samblocks.checkpoints.explain import Explanation, Request, explain, recognise, sizes_taken
from samblocks.checkpoints.mismatch_text import copies, problems
from samblocks.checkpoints.reading.read import Checkpoint, read
from samblocks.checkpoints.report import LoadReport
from samblocks.checkpoints.resize import resize
from samblocks.checkpoints.sharded import parts_of, spread
from samblocks.checkpoints.tensor_source import cast, check_dtype
from samblocks.errors import CheckpointError, LayoutError
from samblocks.image_size import ImageSize, Sizes
from samblocks.layouts import Detection, apply
from samblocks.layouts.cousins import not_supported
from samblocks.layouts.tensors import describe
from samblocks.models.build import materialize
from samblocks.models.deferred import initial_values
from samblocks.models.sam1.model import SAMModel
from samblocks.models.sam2.model import SAM2Model
from samblocks.models.skeleton import skeleton
from samblocks.variants import Variant

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class LoadOptions(TypedDict, total=False):
    """What may be given to `load` and says nothing about the type of its result."""

    variant: str | None
    source: str | None
    image_size: ImageSize | None
    num_maskmem: int | None
    in_chans: int | None
    envelope: str | None
    device: torch.device | str | None
    dtype: torch.dtype | Literal["file"] | None
    sharded: DeviceMesh | None
    mmap: bool


_Path = str | os.PathLike[str]


@overload
def load(
    path_or_name: _Path, *, component: None = ..., strict: Literal[True] = ..., **options: Unpack[LoadOptions]
) -> SAMModel | SAM2Model: ...
@overload
def load(
    path_or_name: _Path, *, component: None = ..., strict: Literal["explain"], **options: Unpack[LoadOptions]
) -> tuple[SAMModel | SAM2Model, LoadReport]: ...
@overload
def load(
    path_or_name: _Path, *, component: str, strict: Literal[True] = ..., **options: Unpack[LoadOptions]
) -> nn.Module: ...
@overload
def load(
    path_or_name: _Path, *, component: str, strict: Literal["explain"], **options: Unpack[LoadOptions]
) -> tuple[nn.Module, LoadReport]: ...
def load(
    path_or_name: str | os.PathLike[str],
    *,
    variant: str | None = None,
    component: str | None = None,
    source: str | None = None,
    image_size: ImageSize | None = None,
    num_maskmem: int | None = None,
    in_chans: int | None = None,
    envelope: str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | Literal["file"] | None = None,
    sharded: DeviceMesh | None = None,
    mmap: bool = True,
    strict: Literal[True, "explain"] = True,
) -> nn.Module | tuple[nn.Module, LoadReport]:
    """Load a checkpoint of any layout and wrapping into the model that its tensors are of.

    What the file is follows from its tensors, never from its name. It is mapped into memory, so that loading
    takes no second copy of the weights; the model can be trained all the same, which never changes the file,
    and saved over the same path. The result is in evaluation mode, and its parameters require gradients.

    Args:
        path_or_name: a file, the index of one in shards or a folder of transformers; or else a name: that of a
            variant, or another one that checkpoints.lock knows, whose file is downloaded and verified. A path that
            exists beats a name.
        variant: what the file must hold. It is needed only where the tensors fit several variants whose
            models differ.
        component: return this part of the model alone, such as `"image_encoder"`, `"trunk"` or
            `"mask_decoder"`; the file may hold it alone too. What is in the file beside it is listed in the
            report and hinders nothing; a tensor inside it that nothing is known about does.
        source: of a name, who distributes the file, such as `"transformers"`; by default Meta.
        image_size: side of the model's images in pixels, or their height and width, each a multiple of 16 (SAM 1)
            or 32 (SAM 2). Tensors that depend on it are resized by the
            policies of `samblocks.checkpoints.resize`, which the report names.
        num_maskmem: frames in memory, likewise (SAM 2 only).
        in_chans: channels of the images, where the file's first layer takes another number than three.
        envelope: the key of the table that is meant where a file holds several, such as `"net_ema"`, with dots
            between those of nested ones; or what the names that are meant begin with.
        device: where the model is to be; None is the CPU.
        dtype: of the weights. None gives float32, exact for half-precision files; `"file"` means the file's.
        sharded: a device mesh (`torch.distributed.device_mesh.init_device_mesh`): the image encoder and the memory
            attention are spread over its processes by FSDP2, and each reads its own part of them alone. All
            processes call this with the same file. `samblocks.save` writes such a model whole.
        mmap: whether tensors stay views of the mapped file. If not, the file may be changed or removed later.
        strict: True makes anything unexplained, missing or misshapen an error. `"explain"` loads what fits,
            leaves the rest at initial values and returns the report too.

    Returns:
        The model, or the module of it that `component` names; with `strict="explain"` a pair of it and its report.

    Raises:
        CheckpointError: the file cannot be read, or does not fit; all that is missing, unexpected or
            misshapen is listed, with the nearest variant.
        ValueError: an argument names something that does not exist.

    >>> import tempfile
    >>> from samblocks.checkpoints.save import save
    >>> from samblocks.models import PromptEncoder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(PromptEncoder(256, (64, 64), (1024, 1024), 16), f"{folder}/prompts.safetensors")
    ...     part = load(f"{folder}/prompts.safetensors", component="prompt_encoder", variant="sam2_hiera_tiny")
    >>> type(part).__name__, part.training, part.no_mask_embed.weight.requires_grad
    ('PromptEncoder', False, True)
    """
    if strict is not True and strict != "explain":
        raise ValueError(
            f'strict must be True or "explain", not {strict!r}: nothing is ever dropped in silence'
        )
    wanted_dtype, place = _dtype(dtype), _device(device)
    sizes = Sizes(image_size, num_maskmem, in_chans).checked()
    if sizes.num_maskmem == 0:
        raise ValueError("num_maskmem=0: a file's ages cannot be resized to none; give at least 1")
    row = None if variant is None else named_variant(variant)
    file = read(_find(path_or_name, source), mmap=mmap, envelope=envelope)
    found = recognise(file)
    if found.rivals:
        raise CheckpointError(f"in {file.path} {copies(found)}.")
    if component is None and (words := not_supported(file.tensors)):
        parts = " or ".join(f"component={part!r}" for part in whole_parts(file.tensors, found))
        raise CheckpointError(
            f"{file.path} is {words}{parts and f'; what is whole of it loads with {parts}'}."
        )
    request = _request(file, found, row, component, strict is True)
    sizes = sizes_taken(file, found, sizes)
    request = replace(request, sizes=sizes, dtype=wanted_dtype)
    model = skeleton(request.row, **sizes._asdict())
    with boundary(file.path, "loaded"):
        tensors = describe(model.state_dict())
        wanted = {name: info for name, info in tensors.items() if name.startswith(request.prefix)}
        explanation = explain(file, found, request, wanted)
        if strict is True and not explanation.report.complete:
            raise CheckpointError(problems(explanation.report, found))
        module = model.get_submodule(request.prefix.rstrip(".")) if request.component else model
        _fill(module, file, explanation, request, place, sharded)
    return module if strict is True else (module, explanation.report)


def _fill(
    module: nn.Module,
    file: Checkpoint,
    explanation: Explanation,
    request: Request,
    device: torch.device,
    sharded: DeviceMesh | None,
) -> None:
    """Give a module of the meta device the file's tensors, and what the file lacks."""
    tensors: Iterable[tuple[str, Tensor]] = (
        (name[len(request.prefix) :], value)
        for name, value in chain(
            _tensors(file, explanation, request, device), _initial(explanation, request, device).items()
        )
    )
    if sharded is not None:
        spread(module, sharded)
        tensors = parts_of(tensors, module)
    module.load_state_dict(dict(tensors), assign=True)
    materialize(module, device)
    module.eval()


def _device(device: torch.device | str | None) -> torch.device:
    try:
        place = torch.device("cpu" if device is None else device)
    except RuntimeError as error:
        raise ValueError(f"device must be one of torch's, such as 'cpu' or 'cuda', not {device!r}") from error
    try:
        torch.empty(1, device=place)
    except (AssertionError, ImportError, RuntimeError) as error:  # by kind of device
        raise ValueError(
            f"device={str(device)!r} is none that this torch finds here: leave it out for the CPU, or install a torch "
            "that has it"
        ) from error
    return place


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype is None:
        return torch.float32
    if isinstance(dtype, str):
        if dtype != "file":
            raise ValueError(f'dtype must be a torch.dtype, None or "file", not {dtype!r}')
        return None
    check_dtype(dtype)
    return dtype


def _find(path_or_name: str | os.PathLike[str], source: str | None) -> Path:
    """The file that is meant, downloaded if it is a name."""
    path = Path(path_or_name)
    named = isinstance(path_or_name, str) and path.suffix not in (".pt", ".pth", ".safetensors")
    if os.path.lexists(path) or not (named or len(path.parts) == 1):
        return path
    try:
        return published.fetch(str(path_or_name), source=source)
    except published.UnknownName as error:
        raise CheckpointError(f"there is no file {path_or_name}, and {error}") from None
    except CheckpointError as error:
        if named:
            raise
        raise CheckpointError(
            f"there is no file {path_or_name} here, and the published one of that name: {error}"
        ) from None


def _request(
    file: Checkpoint, found: Detection, row: Variant | None, component: str | None, strict: bool
) -> Request:
    """Settle variant and component, or say what the caller must settle."""
    if component is not None:
        path = component_path(component, row or found.rows[0])
        component = component_at(path) if not is_component(component, found.rows[0]) else component
    elif found.component is not None and strict and found.exact:
        parts = [part for part in found.component.split("+") if is_component(part, found.rows[0])]
        hint = "load it with " + " or ".join(f"component={part!r}" for part in parts)
        if not parts:
            hint = "no module has them alone; a whole checkpoint can give the rest (samblocks convert --base)"
        raise CheckpointError(f"{file.path} holds {found.component} alone, not a whole model: {hint}.")
    elif found.model_class == "Sam2Model" and strict and found.exact:
        raise CheckpointError(
            f"{file.path} is a Sam2Model file, which holds the image part alone: load a part of it, such as "
            "component='image_encoder', or convert it with a base."
        )
    if row is None:
        around = {"trunk": "image_encoder", "neck": "image_encoder"}
        whole = bool({component, around.get(component or "")} & {*found.intact})
        row = choose_variant(file.path, found.rows, component) if found.exact or whole else found.rows[0]
    return Request(row, component)


def _tensors(
    file: Checkpoint, explanation: Explanation, request: Request, device: torch.device
) -> Iterator[tuple[str, Tensor]]:
    """The tensors that the model takes from the file, one at a time, as it takes them."""
    wanted = explanation.wanted
    unfit = {gap.name for gap in explanation.report.misshapen}
    needed = tuple(step for step in explanation.plan.steps if any(name in wanted for name in step.targets))
    try:
        for name, tensor in apply(replace(explanation.plan, steps=needed), file.get):
            if name not in wanted or name in unfit:
                continue
            if tuple(tensor.shape) != wanted[name].shape:
                tensor = resize(name, tensor, wanted[name].shape)
            yield name, cast(tensor, request.dtype).to(device)
    except LayoutError as error:
        raise CheckpointError(f"{file.path} contradicts itself: {error}.") from None


def _initial(explanation: Explanation, request: Request, device: torch.device) -> dict[str, Tensor]:
    """Initial values for what the file does not give; only an explained load gets this far without them."""
    gaps = {gap.name for gap in (*explanation.report.missing, *explanation.report.misshapen)}
    if not gaps:
        return {}
    with torch.random.fork_rng(devices=[]):
        fresh = initial_values(request.row, gaps, request.sizes)
    return {name: cast(tensor, request.dtype).to(device) for name, tensor in fresh.items()}
