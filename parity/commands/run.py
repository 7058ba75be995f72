"""`parity run`: our blocks and models against the references, one verdict for each output."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from parity.cases import of
from parity.errors import NotInstalledError, UsageError, WorkerError
from parity.execution import devices
from parity.execution.case import Case
from parity.execution.devices import DEVICES
from parity.execution.paths import PATHS
from parity.execution.personalities import PERSONALITIES, usual
from parity.reports import files, overview, summary, terminal
from parity.run import reference_files
from parity.run.job import Job, jobs
from parity.run.judging import Row
from parity.run.runner import run as judge_jobs
from parity.run.truth_cache import TruthCache
from parity.verdict import outlier
from parity.verdict.compare import Comparison, Verdict
from parity.verdict.precision import PRECISIONS, Precision
from parity.workers import options as worker_options
from parity.workers.client import Client
from parity.workers.registry import REFERENCES
from parity.workers.start import incomplete, start_clients
from samblocks.cli.text import ENVELOPE
from samblocks.numerics.matmul import matmul_error_ratio

HELP = "compare with the references"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--reference",
        action="append",
        choices=sorted(REFERENCES),
        metavar="NAME",
        help=f"only this one ({', '.join(REFERENCES)}); may be given again",
    )
    parser.add_argument(
        "--block",
        action="append",
        metavar="NAME",
        help="only the cases of this block, or the case with this id; may be given again",
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="also run the stages of this checkpoint on a photograph; may be given again",
    )
    parser.add_argument("--envelope", metavar="KEY", help=f"with --checkpoint: {ENVELOPE}")
    parser.add_argument(
        "--image", type=Path, metavar="FILE", help="the photograph (default: one that ships with parity)"
    )
    parser.add_argument(
        "--stages-only", action="store_true", help="with --checkpoint: leave the block cases out"
    )
    parser.add_argument(
        "--quick", action="store_true", help="all blocks, small models, nothing at 1024 pixels"
    )
    parser.add_argument(
        "--dtype",
        action="append",
        choices=sorted(PRECISIONS),
        help="working precision (default: float32 and float64)",
    )
    parser.add_argument(
        "--paths",
        choices=sorted(PATHS),
        default="usual",
        help="plain: ours takes no fast path; chunks: whatever can be cut is cut, as far as it goes; ragged: several "
        "windows, rows or prompts at a time, with a smaller last chunk; wide, narrow: half precision computed in "
        "float32 inside, or not, whatever the processor",
    )
    parser.add_argument(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="where both sides run (default cpu); the truth stays on the processor. mps has no float64",
    )
    worker_options.add(parser)
    parser.add_argument(
        "--references-as",
        choices=["usual", *(personality.name for personality in PERSONALITIES)],
        metavar="NAME",
        help="the references' processes compute as another processor would, whatever ours does",
    )
    parser.add_argument(
        "--truths", type=Path, default=Path(".parity/truths"), metavar="FOLDER", help="where truths are kept"
    )
    parser.add_argument("--no-truths", action="store_true", help="compute every truth anew and keep none")
    detail = parser.add_mutually_exclusive_group()
    detail.add_argument("--failures-only", action="store_true", help="print only what did not hold")
    detail.add_argument(
        "--verbose", action="store_true", help="print a line for every case and reference, too"
    )
    files.add(parser)


def run(options: argparse.Namespace) -> int:
    """Compare, print and write the reports; 1 if something diverged, 3 if nothing ran or a reference is silent."""
    files.check(options)
    cases = _chosen(options)
    dtypes = _precisions(options)
    named = list(dict.fromkeys(options.reference or ()))
    with ExitStack() as stack:
        clients, missing = _clients(options, named or list(REFERENCES), stack)
        work = [] if options.stages_only else list(jobs(cases))
        if options.checkpoint:
            work += _stages(options, stack)
        started = time.monotonic()
        outliers: list[outlier.Outlier] = []
        with terminal.progress(len(work), sys.stderr) as advance, PATHS[options.paths]():
            rows = list(
                judge_jobs(
                    work if clients else [],
                    clients,
                    dtypes=dtypes,
                    device=options.device,
                    truths=_truths(options, clients),
                    finished=advance,
                    error_map=options.html is not None,
                    outlier_found=outliers.append,
                )
            )
        elapsed = time.monotonic() - started
        versions = {client.reference.name: client.versions for client in clients}
        ratios = {client.reference.name: matmul_error_ratio(client.matmul_error) for client in clients}
        matmul = {name: times for name, times in ratios.items() if times > 1.0}
    for name, why in missing.items():
        rows += [
            Row(job.case.id, name, "-", "-", Comparison(Verdict.NOT_RUN, cause=str(why))) for job in work
        ]
    status = summary.status(rows, incomplete=incomplete(missing, named))
    reasons = {name: str(why) for name, why in missing.items()}
    ran = overview.Ran(len(work), elapsed, reasons, outliers, status, matmul)
    terminal.show(
        overview.lines(rows, ran, failures_only=options.failures_only, every_row=options.verbose), sys.stdout
    )
    files.write(options, rows, versions, elapsed, [str(one) for one in outliers], status)
    return status


def _clients(
    options: argparse.Namespace, names: Sequence[str], stack: ExitStack
) -> tuple[list[Client], dict[str, WorkerError]]:
    """The references' workers, and why others are missing: all of them, where the device is."""
    if why := devices.missing(options.device):
        return [], dict.fromkeys(names, NotInstalledError(why))
    devices.in_full_precision(options.device)
    return start_clients(
        names,
        options.references,
        stack,
        timeout=options.worker_timeout,
        variables=_as(options.references_as),
        device=options.device,
    )


def _precisions(options: argparse.Namespace) -> list[Precision]:
    usual = ("float32",) if options.device == "mps" else ("float32", "float64")
    if options.device == "mps" and "float64" in (options.dtype or ()):
        raise UsageError("--dtype float64: an MPS device computes in float32 and less")
    return [PRECISIONS[name] for name in options.dtype or usual]


def _as(name: str | None) -> Mapping[str, str]:
    """The variables of the references' processes; ours hold for them too where none are named."""
    chosen = next((one.variables for one in PERSONALITIES if one.name == name), {})
    return {} if name is None else {**usual(), **chosen}


def _truths(options: argparse.Namespace, clients: Sequence[Client]) -> TruthCache:
    if options.no_truths:
        return TruthCache(None)
    folder: Path = options.truths
    cache = TruthCache(
        folder,
        {
            client.reference.name: reference_files.digest(
                client, folder / f"files-of-{client.reference.name}.json"
            )
            for client in clients
        },
    )
    cache.prune()
    return cache


def _chosen(options: argparse.Namespace) -> list[Case]:
    return [case for case in of(options.block or ()) if case.quick or not options.quick]


def _stages(options: argparse.Namespace, stack: ExitStack) -> list[Job]:
    from parity.run import stages

    work: list[Job] = []
    for checkpoint in options.checkpoint:
        work += stack.enter_context(
            stages.checkpoint_jobs(checkpoint, image=options.image, envelope=options.envelope)
        )
    return work
