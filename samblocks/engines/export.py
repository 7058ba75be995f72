"""`export`: the parts of a model as files of another runtime, with a card that says how equal they are."""

from __future__ import annotations

import inspect
import json
import os
import platform
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samblocks.engines import onnx_files, openvino, verify_script
from samblocks.engines.accelerate import refuse_unless_float32, within
from samblocks.engines.card_page import page
from samblocks.engines.drift import drift, film
from samblocks.engines.finding import parts_of
from samblocks.engines.fingerprint import weights_digest
from samblocks.engines.parts import Graph, Part
from samblocks.engines.pointer_parts import pointer_parts
from samblocks.engines.samples import Samples, doubled, record
from samblocks.engines.settings import check_list, refuse_without_bfloat16, require
from samblocks.engines.sibling import ManyRows
from samblocks.errors import EngineError, cause
from samblocks.files import is_free, sha256
from samblocks.image_size import whole_number
from samblocks.models.sam2.model import SAM2Model
from samblocks.numerics import rule
from samblocks.numerics.float64 import lifted
from samblocks.numerics.verdict import error
from samblocks.predict.arguments import path
from samblocks.swap.float64 import widened
from samblocks.swap.verify import evaluating

FORMATS = {"onnx": ("f32", "int8"), "openvino": ("f32", "bf16", "int8"), "exported": ("f32",)}
"""The precisions of each format."""

_SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "exported": ".pt2"}
_RUNTIMES = {"onnx": ("onnxruntime", "onnx"), "openvino": ("openvino",), "exported": ("torch",)}
_SAMPLES = 2
"""How many samples of each graph are kept."""
_FRAMES = 3
"""How long the made-up clip is: on its last frame there are two object pointers, whose order counts."""
_KEPT = 1 << 18
"""How many numbers of an output are kept, evenly spread; of masks all are."""
_KEPT_DRAWN = 1 << 12
"""The same of an output in a further draw."""
_LUCK = 1 << 16
"""Where an output has fewer numbers than this, its R may be luck: further draws are kept of its graph."""


def export(
    model: nn.Module,
    folder: str | os.PathLike[str],
    format: str = "onnx",
    parts: Sequence[str] | None = None,
    precision: str = "f32",
    *,
    pictures: Sequence[Any] = (),
    frames: int = 0,
    command: str = "",
) -> dict[str, Any]:
    """Write the parts of a model as files of another runtime, with a card.

    Beside the files lie `card.json` and `card.html`: hashes of weights and files, versions, R and the largest
    difference of each output, pixels that flip, and how to repeat it. `verify.py` does that with NumPy and the
    runtime alone, as `samblocks verify FOLDER` does. The folder appears when it is whole.

    Args:
        model: a model of ours, in float32.
        folder: that does not exist, or is empty.
        format: "onnx", "openvino" or "exported" (torch's own, `torch.export`).
        parts: which of the model's parts, by kind (image_encoder, mask_decoder, memory_attention,
            memory_encoder, object_pointer, absent_object) or path; all if None.
        precision: "f32", "bf16" (OpenVINO: the card tells the runtime) or "int8" (not "exported").
        pictures: paths, arrays or PIL pictures that samples are taken from, and ranges in int8; a made-up one if none.
        frames: track a made-up clip of so many frames, with two objects, once in eager and once with the files in our
            Python loop, and put the first frame that differs and the curve of drift on the card; SAM 2 only.
        command: what made it, for the card.

    Returns:
        The card.

    Raises:
        ValueError: an unknown format, part or precision, int8 without pictures, or an argument of another kind.
        EngineError: a package is missing, the folder is not empty, or a conversion failed. Nothing is written then.
    """
    _check(format, precision, pictures)
    target, frames = Path(path(folder, "folder")), whole_number(frames, "frames", 0)
    if frames and not isinstance(model, SAM2Model):
        raise ValueError(f"frames={frames}: a {type(model).__name__} tracks nothing")
    if not command:
        more = {"parts": parts and list(parts), "precision": precision, "frames": frames}
        command = f"samblocks.export(model, {target.name!r}, {format!r}, "
        command += ", ".join(f"{name}={value!r}" for name, value in more.items() if value) + ")"
    if not is_free(target):
        raise EngineError(f"{target} is there already: give a folder that is empty or not there")
    found = _chosen(model, parts)
    for part in found:
        refuse_unless_float32(part)
    if not len(pictures) and isinstance(model, SAM2Model):
        pictures = [film(model.config.image_size, _FRAMES)]
    with evaluating(model):
        samples = {name: kept[:_SAMPLES] for name, kept in record(model, found, pictures).items()}
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    try:
        with evaluating(model):
            card = _written(model, found, samples, scratch, format, precision, command)
            if frames:
                card["video"] = drift(model, found, samples, scratch, format, precision, frames)
        write_card(scratch, card)
        if target.exists():
            target.rmdir()
        scratch.chmod(0o755)
        scratch.rename(target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return card


def _check(format: str, precision: str, pictures: Sequence[Any]) -> None:
    check_list(pictures, "pictures", "pictures")
    if not isinstance(format, str) or format not in FORMATS:
        raise ValueError(f"format={format!r} must be one of {', '.join(map(repr, FORMATS))}")
    if precision not in FORMATS[format]:
        known = ", ".join(map(repr, FORMATS[format]))
        raise ValueError(f"precision={precision!r}: the format {format!r} has {known}")
    if precision == "int8" and not len(pictures):
        raise ValueError("precision='int8' needs pictures=: ranges of values are taken from them")
    for package in _RUNTIMES[format]:
        require(package, format)
    if precision == "int8":
        require("nncf", "openvino")
    if precision == "bf16":
        refuse_without_bfloat16()  # the card would be of float32


def _chosen(model: nn.Module, names: Sequence[str] | None) -> list[Part]:
    found = [*parts_of(model), *pointer_parts(model)]
    if not found:
        raise EngineError(f"a {type(model).__name__} holds no module of samblocks that can be exported")
    if names is None:
        return found
    known = {name: part for part in found for name in (part.kind, part.path)}
    check_list(names, "parts", "names")
    if not names:
        raise ValueError(
            f"parts is empty: name some of {', '.join(map(repr, known))}, or leave it out for all"
        )
    for name in names:
        if name not in known:
            raise ValueError(f"parts: {name!r} must be one of {', '.join(map(repr, known))}")
    return [part for part in found if part.kind in names or part.path in names]


def _written(
    model: nn.Module,
    parts: Sequence[Part],
    samples: Samples,
    folder: Path,
    format: str,
    precision: str,
    command: str,
) -> dict[str, Any]:
    twin = widened(model)
    held: dict[str, np.ndarray] = {}
    graphs: list[dict[str, Any]] = []
    originals: dict[str, tuple[Graph, Graph]] = {}
    for part in parts:
        wide = {one.path: one for one in (*parts_of(twin), *pointer_parts(twin))}[part.path]
        for name, graph in part.graphs.items():
            file = folder / f"{name}{_SUFFIX[format]}"
            try:
                _write(part, graph, samples[name], file, format, precision)
            except Exception as error:  # whatever a converter may raise
                raise EngineError(f"{format} cannot take {part.path} ({name}): {cause(error)}") from error
            originals[name] = graph, wide.graphs[name]
            for number, sample in enumerate(samples[name]):
                held |= _reference(*originals[name], sample, f"{name}/{number}")
            graphs.append(
                {
                    "name": name,
                    "part": part.path,
                    "file": file.name,
                    "inputs": list(graph.inputs),
                    "free": {
                        key: {str(axis): size for axis, size in axes.items()}
                        for key, axes in graph.inputs.items()
                    },
                    "outputs": list(graph.outputs),
                    "samples": len(samples[name]),
                }
            )
    (folder / "verify.py").write_text(_script(), encoding="utf-8")
    card: dict[str, Any] = {
        "format": verify_script.FORMAT,
        "kind": format,
        "precision": precision,
        "model": f"{type(model).__module__}.{type(model).__qualname__}",
        "weights": weights_digest(model),
        "versions": _versions(format),
        "command": command,
        "repeat": "python verify.py, or: samblocks verify FOLDER",
        "samples": "samples.npz",
        "graphs": graphs,
    }
    luck = [name for name in originals if _few(held, name)] if precision == "f32" else []
    while True:
        for name in luck:
            for number, sample in enumerate(samples[name]):
                held |= _draws(*originals[name], sample, f"{name}/{number}")
        np.savez(folder / card["samples"], **held)  # type: ignore[arg-type]
        card["rows"] = verify_script.measure(card, folder)
        alarms = {row["graph"] for row in card["rows"] if verify_script.undecided(row)}
        luck = sorted(alarms) if precision == "f32" else []
        if not luck:
            break
    card["files"] = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    return card


def _script() -> str:
    """`verify_script`, with the rule in it that it imports from us."""
    text = Path(verify_script.__file__).read_text(encoding="utf-8")
    start, _, rest = text.partition(f"from {rule.__name__} import")
    return start + Path(rule.__file__).read_text(encoding="utf-8") + rest.partition("\n")[2]


def _few(held: Mapping[str, np.ndarray], name: str) -> bool:
    """Whether an output of a graph has so few numbers that its R may be luck."""
    shapes = [x for key, x in held.items() if key.startswith(f"{name}/0/out/") and key.endswith("/shape")]
    return any(np.prod(shape) < _LUCK for shape in shapes)


def write_card(folder: Path, card: dict[str, Any]) -> None:
    """Write a card for machines and for people."""
    card["digest"] = verify_script.digest_of(card)
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (folder / "card.html").write_text(page(card), encoding="utf-8")


def _write(
    part: Part, graph: Graph, samples: Sequence[tuple[Tensor, ...]], file: Path, format: str, precision: str
) -> None:
    example = doubled(part, graph.name, samples[0])
    if format == "onnx":
        data = onnx_files.convert(graph, example)
        if precision == "int8":
            data = onnx_files.quantize(data, list(graph.inputs), samples, within(part, ()))
        file.write_bytes(data)
    elif format == "openvino":
        converted = openvino.convert(graph, example)
        if precision == "int8":
            converted = openvino.quantize(converted, samples, within(part, ()))
        require("openvino", "openvino").save_model(converted, str(file), compress_to_fp16=False)
    else:
        free = {
            axis: torch.export.Dim(axis, min=1) for axes in graph.inputs.values() for axis in axes.values()
        }
        shapes = tuple({axis: free[name] for axis, name in axes.items()} for axes in graph.inputs.values())
        kinds = [one.kind for one in inspect.signature(graph.module.forward).parameters.values()]
        if inspect.Parameter.VAR_POSITIONAL in kinds:  # these count as one
            named = len(kinds) - 1
            shapes = (*shapes[:named], *([shapes[named:]] if shapes[named:] else ()))
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.export.save(torch.export.export(graph.module, example, dynamic_shapes=shapes), str(file))


def _reference(graph: Graph, wide: Graph, sample: tuple[Tensor, ...], start: str) -> dict[str, np.ndarray]:
    """A sample, and what the original gives for it in float32 and float64."""
    held = {f"{start}/in/{name}": x.numpy() for name, x in zip(graph.inputs, sample, strict=True)}
    for name, (one, sibling, right) in _originals(graph, wide, sample).items():
        place = f"{start}/out/{name}"
        step = 1 if name == "masks" else _step(one, _KEPT)
        held[f"{place}/eager"] = verify_script.thinned(one.numpy(), step)
        held[f"{place}/truth"] = verify_script.thinned(right.numpy(), step)
        held[f"{place}/shape"] = np.array(one.shape)
        held[f"{place}/step"] = np.array(step)
        held[f"{place}/own"] = _own(one, sibling, right, step)
        held[f"{place}/worst"] = np.array(error(one, right).worst)
    return held


def _draws(graph: Graph, wide: Graph, sample: tuple[Tensor, ...], start: str) -> dict[str, np.ndarray]:
    """What the original gives for further draws of a sample: some numbers in float64, and float32's error of these."""
    held: dict[str, np.ndarray] = {}
    for draw in range(1, rule.MANY + 1):
        varied = tuple(
            torch.from_numpy(verify_script.draw_of(x.numpy(), f"{start}/in/{name}", draw))
            for name, x in zip(graph.inputs, sample, strict=True)
        )
        for name, (one, sibling, right) in _originals(graph, wide, varied).items():
            place, step = f"{start}/draw/{draw}/{name}", _step(one, _KEPT_DRAWN)
            held[f"{place}/truth"] = verify_script.thinned(right.numpy(), step)
            held[f"{place}/own"] = _own(one, sibling, right, step)
            held[f"{place}/step"] = np.array(step)
    return held


def _originals(
    graph: Graph, wide: Graph, sample: tuple[Tensor, ...]
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """What the original gives in float32, in float32 by kernels for many rows, and in float64, by output."""
    with torch.no_grad():
        eager = graph.module(*sample)
        with ManyRows():
            sibling = graph.module(*sample)
        with lifted():
            truth = wide.module(*(x.double() for x in sample))
    return dict(zip(graph.outputs, zip(eager, sibling, truth, strict=True), strict=True))


def _own(eager: Tensor, sibling: Tensor, truth: Tensor, step: int) -> np.ndarray:
    """The larger rms error of the two, in the numbers that are kept."""
    right = verify_script.thinned(truth.numpy(), step)
    some = (verify_script.thinned(x.numpy(), step) for x in (eager, sibling))
    return np.array(max(verify_script.rms(x.astype(np.float64) - right) for x in some))


def _step(output: Tensor, kept: int) -> int:
    """Every so many numbers are kept; odd, so that it does not fall into step with an axis."""
    return -(-output.numel() // kept) | 1


def _versions(format: str) -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    for package in ("samblocks", *_RUNTIMES[format], "nncf"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
