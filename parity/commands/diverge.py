"""`parity diverge`: in which module do two implementations part?"""

import argparse
import importlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from parity import diverge
from parity.case import Case
from parity.commands.run import start_clients
from parity.diverge import subjects, text
from parity.diverge.locate import Comparer, Report
from parity.diverge.store import Store
from parity.diverge.taps import Call
from parity.diverge.upstream import Trace, recorded
from parity.errors import UsageError
from parity.execute import call, prepare
from parity.own import library as own_library
from parity.references import REFERENCES
from parity.references.client import Client


def add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Register the command."""
    parser = subparsers.add_parser(
        "diverge", help="find the module in which two implementations part", description=__doc__
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--block", metavar="NAME", help="the first case of this block that upstream can run")
    subject.add_argument("--case", metavar="ID", help="this case")
    subject.add_argument("--variant", metavar="NAME", help="a released model, with made-up weights")
    subject.add_argument("--checkpoint", metavar="FILE", help="the model in this file, with its weights")
    subject.add_argument(
        "--pair",
        metavar="PACKAGE:FACTORY",
        help="two models in this process: the factory returns (candidate, reference, inputs)",
    )
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="with --checkpoint or --variant: the photograph to look at"
    )
    parser.add_argument(
        "--size", type=int, metavar="PIXELS", help="side of the square image (256 for SAM 2, else 512)"
    )
    parser.add_argument(
        "--reference", choices=sorted(REFERENCES), default="meta", metavar="NAME", help="default: meta"
    )
    parser.add_argument("--bound", type=float, default=2.0, metavar="R", help="largest R that holds (2)")
    parser.add_argument("--all", action="store_true", help="print every module, not only the named points")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    parser.add_argument(
        "--references", type=Path, metavar="FOLDER", help="the references' environment (default: .references)"
    )
    parser.set_defaults(action=_run)


def _run(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        if options.pair:
            subject, against = options.pair, "the other of the pair"
            report = diverge.diverge(*_pair(options.pair), bound=options.bound)
        else:
            clients, missing = start_clients([options.reference], options.references, stack)
            if not clients:
                print(f"{options.reference}: NOT RUN: {missing[options.reference]}")
                return 3
            case, inputs, weights = _subject(options, stack)
            subject, against = case.id, options.reference
            report = against_client(case, clients[0], inputs=inputs, weights=weights, bound=options.bound)
    print(f"{subject} against {against}")
    for line in text.lines(report, everything=options.all):
        print(line)
    if options.json:
        document = {"schema": text.SCHEMA, "subject": subject, "reference": against, **text.as_json(report)}
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not report.taps:
        return 3
    return 1 if report.culprits else 0


def against_client(
    case: Case,
    client: Client,
    *,
    inputs: Mapping[str, Tensor] | None = None,
    weights: Path | None = None,
    bound: float = 2.0,
    change: Callable[[nn.Module], object] | None = None,
) -> Report:
    """Compare our side of a case with a reference in its worker.

    Args:
        case: what runs on both sides.
        client: the reference.
        inputs: instead of the case's own.
        weights: a file in Meta's names, instead of filled ones.
        bound: largest R that a module may introduce.
        change: applied to our module before it runs: plants a mistake to see that it is found.

    Raises:
        UsageError: the reference cannot run the case.
    """
    given = case.tensors() if inputs is None else inputs
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        store = Store(Path(folder))
        name = (
            case.id if case.variant is None or _listed(case) else f"variant/{case.variant}@{case.image_size}"
        )
        request = {"do": "run", "case": name, "folder": folder, "weights": str(weights) if weights else None}
        reply = client.trace(request, given)
        if reply["status"] != "ok":
            raise UsageError(f"{client.reference.name}: {reply['message']}")
        loaded = safetensors.torch.load_file(weights) if weights else None
        ours, _ = prepare(case, own_library(), weights=loaded)
        if change is not None:
            change(ours)

        def run(module: nn.Module, dtype: torch.dtype) -> object:
            return call(case, own_library(), module, given, dtype)

        def within(index: int) -> list[Call]:
            inner = client.trace({"do": "within", "index": index})
            if inner["status"] != "ok":
                raise RuntimeError(inner["message"])
            return [Call.from_json(data) for data in inner["calls"]]

        own = recorded(ours, run, store, arguments=False)
        return Comparer(ours, own, Trace.from_json(reply["trace"]), store, within, bound=bound).report()


def _listed(case: Case) -> bool:
    return case.id in subjects.all_cases()


def _subject(
    options: argparse.Namespace, stack: ExitStack
) -> tuple[Case, dict[str, Tensor] | None, Path | None]:
    if options.case:
        case = subjects.find(options.case)
        if case.is_function:
            raise UsageError(f"{case.id} is about a function: there are no modules to look into")
        return case, None, None
    if options.block:
        return subjects.of_block(options.block)[0], None, None
    weights = None
    if options.checkpoint:
        variant, weights = stack.enter_context(_canonical_weights(options.checkpoint, options.size))
    else:
        variant = options.variant
        from samblocks import VARIANTS

        if variant not in VARIANTS:
            raise UsageError(f"no variant is called {variant!r}; there are {', '.join(VARIANTS)}")
    case = subjects.find(f"variant/{variant}@{options.size or subjects.default_size(variant)}")
    inputs = case.tensors()
    if options.image:
        inputs["frames"] = _photograph(options.image, inputs["frames"])
    return case, inputs, weights


@contextmanager
def _canonical_weights(file: str, size: int | None) -> Iterator[tuple[str, Path]]:
    """The variant that a checkpoint holds, and its weights in Meta's names, in a file of their own."""
    import samblocks

    _, report = samblocks.load(file, strict="explain")
    variant = report.variant
    model = samblocks.load(file, image_size=size or subjects.default_size(variant))
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        path = Path(folder) / "weights.safetensors"
        tensors = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
        safetensors.torch.save_file(tensors, path)
        yield variant, path


def _photograph(file: Path, like: Tensor) -> Tensor:
    """The photograph, squeezed to the frames' size and normalised; the second frame is the first, shifted."""
    try:
        import numpy as np
        from PIL import Image
    except ImportError:
        raise UsageError("reading a photograph needs Pillow: pip install 'samblocks[images]'") from None
    size = like.shape[-1]
    with Image.open(file) as opened:
        pixels = np.asarray(opened.convert("RGB").resize((size, size), Image.Resampling.BILINEAR), np.float32)
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy()) / 255.0
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    image = (image - mean[:, None, None]) / std[:, None, None]
    return torch.stack([image.roll(8 * index, dims=-1) for index in range(len(like))])


def _pair(name: str) -> tuple[nn.Module, nn.Module, Any]:
    package, _, factory = name.partition(":")
    try:
        made = getattr(importlib.import_module(package), factory)()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--pair {name}: {error}") from None
    if not isinstance(made, tuple) or len(made) != 3:
        raise UsageError(f"--pair {name}: must return (candidate, reference, inputs)")
    return made
