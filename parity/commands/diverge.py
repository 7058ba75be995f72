"""`parity diverge`: in which module do two implementations part?"""

import argparse
import importlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from parity import diverge
from parity.diverge import in_worker, subjects, text
from parity.diverge.locate import Comparer, Report
from parity.diverge.planted import PLANTED, Mistake
from parity.diverge.remote import Remote
from parity.diverge.store import Store
from parity.diverge.upstream import Trace, free_run
from parity.errors import UsageError
from parity.execution import pictures
from parity.execution.case import Case, NoCounterpart
from parity.execution.execute import call, prepare
from parity.execution.folders import check_outputs
from parity.run.samblocks_library import library as own_library
from parity.workers import options as worker_options
from parity.workers.client import Client
from parity.workers.registry import REFERENCES
from parity.workers.start import start_clients
from samblocks import VARIANTS
from samblocks.checkpoints import load
from samblocks.cli.text import ENVELOPE

HELP = "find the module in which two implementations part"

Change = Callable[[nn.Module], object] | None
"""What is done to our module before it runs, where a mistake is planted to see that it is found."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--block", metavar="NAME", help="every case of this block that upstream can run")
    subject.add_argument("--case", metavar="ID", help="this case")
    subject.add_argument("--variant", metavar="NAME", help="a released model, with made-up weights")
    parser.add_argument("--envelope", metavar="KEY", help=f"with --checkpoint: {ENVELOPE}")
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
    parser.add_argument("--image-only", action="store_true", help="the image encoder alone")
    parser.add_argument(
        "--plant",
        choices=[*PLANTED, "all"],
        metavar="MISTAKE",
        help=f"plant a mistake in our image encoder first: all, {', '.join(PLANTED)}",
    )
    parser.add_argument("--bound", type=float, default=2.0, metavar="R", help="largest R that holds (2)")
    parser.add_argument("--all", action="store_true", help="print every module, not only the named points")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    worker_options.add(parser)


def run(options: argparse.Namespace) -> int:
    """Compare, print where the two part; 1 if they do, 3 if nothing was compared."""
    check_outputs(options.json)
    with ExitStack() as stack:
        if options.pair:
            report = diverge.diverge(*_pair(options.pair), bound=options.bound)
            return _finish(options, "the other of the pair", {options.pair: report}, {})
        clients, missing = start_clients(
            [options.reference], options.references, stack, timeout=options.worker_timeout
        )
        if not clients:
            print(f"{options.reference}: NOT RUN: {missing[options.reference]}")
            return 3
        cases, inputs, weights = _subject(options, stack)
        reports: dict[str, Report] = {}
        not_run: dict[str, str] = {}
        for case in cases:
            try:
                with traced(case, clients[0], inputs=inputs, weights=weights, bound=options.bound) as judge:
                    if options.plant:
                        return _plant(judge, options.plant)
                    reports[case.id] = judge(None)
            except (NoCounterpart, UsageError) as error:
                if len(cases) == 1 or options.plant:
                    if isinstance(error, UsageError):
                        raise
                    raise UsageError(f"{options.reference} on {case.id}: {error}") from None
                not_run[case.id] = str(error)
        return _finish(options, options.reference, reports, not_run)


def _finish(
    options: argparse.Namespace, against: str, reports: Mapping[str, Report], not_run: Mapping[str, str]
) -> int:
    """Print and write what was found in each case; gives the exit status."""
    documents = {}
    for subject, report in reports.items():
        documents[subject] = {
            "schema": text.SCHEMA,
            "subject": subject,
            "reference": against,
            **text.as_json(report),
        }
        print(f"{subject} against {against}", end=": " if options.block and report else "\n")
        if options.block and report:  # of many cases only those that fail fill pages
            print(text.summary(report))
            continue
        for line in text.lines(report, everything=options.all):
            print(line)
    for subject, why in not_run.items():
        print(f"{subject}: NOT RUN: {why}")
    failed = [subject for subject, report in reports.items() if report.culprits]
    if options.block:
        print(
            f"{len(reports)} of {len(reports) + len(not_run)} cases of {options.block} ran, in {len(failed)} of "
            "them a module introduces an error" + (f": {', '.join(failed)}" if failed else "")
        )
    if options.json:
        document: Any = {
            "schema": text.SCHEMA,
            "subject": options.block,
            "reference": against,
            "cases": list(documents.values()),
            "not_run": dict(not_run),
        }
        if not options.block:
            (document,) = documents.values()
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if not any(report.taps for report in reports.values()):
        return 3
    return 1 if failed else 0


@contextmanager
def traced(
    case: Case,
    client: Client,
    *,
    inputs: Mapping[str, Tensor] | None = None,
    weights: Path | None = None,
    bound: float = 2.0,
) -> Iterator[Callable[[Change], Report]]:
    """Record a case in a reference's worker, once; gives a function that holds our side against it.

    Args:
        case: what runs on both sides.
        client: the reference.
        inputs: instead of the case's own.
        weights: a file in Meta's names, instead of filled ones.
        bound: largest R that a module may introduce.

    Raises:
        NoCounterpart: the reference has no such block, or not with these arguments.
        UsageError: it raised something else on the case.
    """
    given = case.tensors() if inputs is None else inputs
    loaded = safetensors.torch.load_file(weights) if weights else None
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        store = Store(Path(folder))
        file = str(weights) if weights else None
        reply = client.ask(
            in_worker.__name__, {"do": "run", "case": case.id, "folder": folder, "weights": file}, given
        )
        if reply["status"] == "no counterpart":
            raise NoCounterpart(reply["message"])
        if reply["status"] != "ok":
            raise UsageError(f"{client.reference.name} on {case.id}: {reply['message']}")
        theirs = Trace.from_json(reply["trace"])

        def run(module: nn.Module, dtype: torch.dtype) -> object:
            return call(case, own_library(), module, given, dtype)

        def judge(change: Change = None) -> Report:
            ours = _made(case, loaded, change)
            wide = partial(_made, case, loaded, change, lift=True)
            own, note = free_run(ours, run, store)
            return Comparer(ours, wide, own, theirs, store, Remote(client), bound=bound, note=note).report()

        yield judge


def _made(
    case: Case, weights: Mapping[str, Tensor] | None, change: Change, *, lift: bool = False
) -> nn.Module:
    """Our module of a case, changed; `lift` makes it in float64."""
    module, _ = prepare(case, own_library(), lift=lift, weights=weights)
    if change is not None:
        change(module)
    return module


def _subject(
    options: argparse.Namespace, stack: ExitStack
) -> tuple[list[Case], dict[str, Tensor] | None, Path | None]:
    if options.case:
        case = subjects.find(options.case)
        if case.is_function:
            raise UsageError(f"{case.id} is about a function: there are no modules to look into")
        return [case], None, None
    if options.block:
        return subjects.of_block(options.block), None, None
    weights = None
    if options.checkpoint:
        variant, weights = stack.enter_context(
            _canonical_weights(options.checkpoint, options.size, options.envelope)
        )
    else:
        variant = options.variant
        if variant not in VARIANTS:
            raise UsageError(f"no variant is called {variant!r}; there are {', '.join(VARIANTS)}")
    what = "encoder" if options.image_only else "variant"
    case = subjects.find(f"{what}/{variant}@{options.size or subjects.default_size(variant)}")
    inputs = case.tensors()
    if options.image:
        inputs["frames"] = _photograph(options.image, inputs["frames"])
    return [case], inputs, weights


@contextmanager
def _canonical_weights(file: str, size: int | None, envelope: str | None) -> Iterator[tuple[str, Path]]:
    """The variant that a checkpoint holds, and its weights in Meta's names, in a file of their own."""
    _, report = load(file, strict="explain", envelope=envelope)
    if not report.complete:
        load(file, envelope=envelope)  # raises, with all that is missing or misshapen
    if report.component is not None:
        raise UsageError(f"{file} holds {report.component} of {report.variant} alone: it needs a whole model")
    model = load(file, image_size=size or subjects.default_size(report.variant), envelope=envelope)
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        path = Path(folder) / "weights.safetensors"
        tensors = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
        safetensors.torch.save_file(tensors, path)
        yield report.variant, path


def _photograph(file: Path, like: Tensor) -> Tensor:
    """The photograph as SAM 2 wants it, or as SAM does; the second frame is the first, moved sideways."""
    picture, size = pictures.read(file), like.shape[-1]
    image = pictures.for_sam2([picture], size) if len(like) > 1 else pictures.for_sam(picture, size)
    return torch.cat([image.roll(8 * index, dims=-1) for index in range(len(like))])


def _plant(judge: Callable[[Change], Report], wanted: str) -> int:
    """Plant mistakes one by one; succeeds if each is found where it was planted."""
    failed = 0
    for name, mistake in PLANTED.items():
        if wanted not in (name, "all"):
            continue
        places: list[str] = []

        def plant(module: nn.Module, mistake: Mistake = mistake, places: list[str] = places) -> None:
            places += mistake.plant(module)

        report = judge(plant)
        right = mistake.found(report, places)
        failed += not right
        print(f"{'LOCATED' if right else 'MISSED '} {name}: {mistake.why}")
        for line in text.verdict(report):
            print(f"        {line}")
    return 1 if failed else 0


def _pair(name: str) -> tuple[nn.Module, nn.Module, Any]:
    package, _, factory = name.partition(":")
    try:
        make = getattr(importlib.import_module(package), factory)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--pair {name}: {error}") from None
    made = make() if callable(make) else None
    if not isinstance(made, tuple) or len(made) != 3:
        raise UsageError(f"--pair {name}: must return (candidate, reference, inputs)")
    return made
