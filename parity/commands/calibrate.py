"""`parity calibrate`: honest variations of our own runs, how large R gets in them, and the margin to the bound.

Exit status: 0 when no variation raises an alarm, 1 when one does, 3 when nothing could be judged.
"""

import argparse
import time
from contextlib import ExitStack

import torch

from parity.cases import all_cases
from parity.execution.case import Case
from parity.selftest.calibration import spread
from parity.selftest.calibration.alarms import Sample, reseeded, varied
from parity.selftest.calibration.measure import measure
from parity.selftest.mutants import reference_outputs
from parity.verdict import compare, envelopes
from parity.workers import options as worker_options
from parity.workers.start import start_clients

HELP = "see that honest variations raise no alarm"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--block", action="append", metavar="NAME", help="only this block's cases")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="other weights and inputs, N times")
    parser.add_argument(
        "--first-seed", type=int, default=1, metavar="N", help="number of the first of them (default: 1)"
    )
    parser.add_argument("--seeds-only", action="store_true", help="vary nothing but weights and inputs")
    parser.add_argument(
        "--models", action="store_true", help="vary whole SAM 2 models too, with the weights they have"
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure anew how far upstream's own results move, and keep it",
    )
    worker_options.add(parser)


def block_cases(blocks: list[str] | None = None, *, models: bool = False) -> list[Case]:
    """The cases that are varied: all blocks and parts of models; whole small SAM 2 models only if wanted."""
    return [
        case
        for case in all_cases().values()
        if case.variant is None
        and (models or case.block != "SAM2Model")
        and (not blocks or case.block in blocks)
    ]


def run(options: argparse.Namespace) -> int:
    """Vary honestly and print how large R gets; 1 if a variation raises an alarm, 3 if nothing was judged."""
    started = time.monotonic()
    torch.set_num_threads(1)
    cases = block_cases(options.block, models=options.models)
    upstream, missing = reference_outputs.collect(cases, options.references, timeout=options.worker_timeout)
    with ExitStack() as stack:
        wanted = reference_outputs.FOLLOWED if options.seeds or options.measure else ()
        clients, absent = start_clients(wanted, options.references, stack, timeout=options.worker_timeout)
        missing = missing or "; ".join(f"{name}: {why}" for name, why in absent.items())
        torch.set_num_threads(1)
        if options.measure and not absent:
            envelopes.write(measure(block_cases(options.block), upstream, clients))
        samples: list[Sample] = [] if options.seeds_only else list(varied(cases, upstream))
        # Adjusted weights are tuned to one set of numbers, exact ones have no R.
        # Whole SAM 2 models choose among masks: cases see to it that no choice is close with the weights they have.
        free = [case for case in cases if case.adjust is None and case.block != "SAM2Model"]
        numbers = range(options.first_seed, options.first_seed + options.seeds)
        samples += reseeded(free, clients, [f"seed{number}" for number in numbers])
    if missing:
        print(f"NOT RUN {missing}")
    if not samples:
        return 3
    print("\n".join(spread.table(samples)))
    alarms = [sample for sample in samples if sample.alarm]
    for sample in sorted(alarms, key=lambda sample: -(sample.comparison.ratio or 0.0)):
        what = sample.comparison
        figure = f"R {what.ratio:.3f}" if what.ratio is not None else what.cause
        print(
            f"ALARM {sample.case} {sample.output} ({sample.numbers} numbers, {sample.reference}, "
            f"{sample.kind}): {figure}"
        )
    ratios = [sample.comparison.ratio for sample in samples if sample.comparison.ratio is not None]
    largest = max(ratios, default=0.0)
    print()
    print(str(compare.__doc__).strip())
    print()
    print(
        f"{spread.runs(samples)} variations, {len(samples)} outputs judged, {len(alarms)} alarms; largest R "
        f"{largest:.3f}, bound 2: margin {2.0 / largest if largest else float('inf'):.2f} times; "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if alarms else 0
