"""`parity calibrate`: honest variations of our own runs, how large R gets in them, alone and pooled over draws.

Our side also runs as other processors would compute, in processes of their own. Exit status: 0 when no series raises
an alarm, 1 when one does, 3 when nothing could be judged or an installed reference does not answer.
"""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

import torch

from parity.cases import all_cases
from parity.execution.case import Case
from parity.selftest.calibration import spread
from parity.selftest.calibration.alarms import MANY, series
from parity.selftest.calibration.kept import Kept
from parity.selftest.calibration.variations import VARIATIONS, as_other_processors
from parity.workers import options as worker_options
from parity.workers.registry import FOLLOWED
from parity.workers.start import incomplete, start_clients

HELP = "see that honest variations raise no alarm"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--block", action="append", metavar="NAME", help="only this block's cases")
    parser.add_argument(
        "--draws", type=int, default=MANY, metavar="N", help="other weights and inputs, N times (default: 16)"
    )
    parser.add_argument(
        "--series",
        type=Path,
        metavar="FILE",
        help="where series are kept as they are made, and cases that are in it are not varied again: so a run is made "
        "in parts (--block), or goes on where it ended; the table is of all that the file holds",
    )
    worker_options.add(parser)


def varied_cases(blocks: list[str] | None = None) -> list[Case]:
    """The cases that are varied: all blocks and parts of models that are not tuned to one set of numbers.

    Adjusted weights are tuned, exact outputs have no R, and whole SAM 2 models choose among masks: their cases see
    to it that no choice is close with the weights they have.
    """
    return [
        case
        for case in all_cases().values()
        if case.variant is None
        and case.adjust is None
        and not case.exact
        and case.block != "SAM2Model"
        and (not blocks or case.block in blocks)
    ]


def run(options: argparse.Namespace) -> int:
    """Vary honestly and print how large R gets; 1 if a variation raises an alarm, 3 if too little was judged."""
    started = time.monotonic()
    with ExitStack() as stack:
        clients, missing = start_clients(FOLLOWED, options.references, stack, timeout=options.worker_timeout)
        # What lacks a reference is not taken for the whole by a later run.
        kept = Kept(None if missing else options.series, options.draws)
        variations = [*VARIATIONS, *as_other_processors(stack, timeout=options.worker_timeout)]
        torch.set_num_threads(1)
        for case in varied_cases(options.block):
            if case.id not in kept.series and clients:
                kept.add(case.id, list(series([case], clients, variations, options.draws)))
    found = [one for several in kept.series.values() for one in several]
    for name, why in missing.items():
        print(f"NOT RUN {name}: {why}")
    if not found:
        return 3
    print("\n".join(spread.table(found)))
    alarms = [one for one in found if one.verdict.verdict.failed]
    for one in alarms:
        print(
            f"ALARM {one.case} {one.output} ({one.numbers} numbers, {one.reference}, {one.kind}): {one.verdict.cause}"
        )
    judged = sum(len(one.draws) for one in found)
    print(
        f"{len(found)} series, {judged} draws judged, {len(alarms)} alarms; {time.monotonic() - started:.0f} s"
    )
    return 1 if alarms else 3 if incomplete(missing) else 0
