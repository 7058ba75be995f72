"""`parity truth-check`: run every truth in a second way, by another mechanism, and compare the two.

A truth that secretly went through float32 would excuse our errors. The first way watches every operator; the
second replaces the names of narrow types. What leaks through one of them does not leak through the other.
"""

import argparse
from contextlib import ExitStack

from parity.cases import all_cases
from parity.errors import UsageError
from parity.verdict.compare import Verdict, compare_double
from parity.workers import options as worker_options
from parity.workers.registry import REFERENCES
from parity.workers.start import start_clients

HELP = "compare truths with a second way"

BOUND = 1e-12
"""Largest relative difference of the two ways: float32 would leave 1e-8 and more."""


_MODELS = ("SAMModel", "SAM2Model")


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--reference", action="append", choices=sorted(REFERENCES), help="only this one")
    parser.add_argument("--block", action="append", metavar="NAME", help="only this block's cases")
    parser.add_argument("--models", action="store_true", help="whole models too, which takes long")
    worker_options.add(parser)


def run(options: argparse.Namespace) -> int:
    """Compare the two ways and print; 1 if they differ, 3 if nothing was compared."""
    cases = [
        case
        for case in all_cases().values()
        if case.quick
        and (options.models or case.block not in _MODELS)
        and (not options.block or case.block in options.block)
    ]
    if not cases:
        raise UsageError(f"no case is about {', '.join(options.block)}")
    compared, equal, failed, largest, without = 0, 0, 0, 0.0, 0
    with ExitStack() as stack:
        clients, missing = start_clients(
            options.reference or list(REFERENCES), options.references, stack, timeout=options.worker_timeout
        )
        for client in clients:
            for case in cases:
                inputs = case.tensors()
                first = client.execute(case, inputs, lift=True)
                if first.status != "ok":
                    without += 1
                    continue
                second = client.execute(case, inputs, lift="substituted")
                if second.status != "ok":
                    failed += 1
                    print(f"{client.reference.name} {case.id}: the second way failed: {second.message}")
                    continue
                for name, truth in first.outputs.items():
                    found = compare_double(second.outputs[name], truth, bound=BOUND)
                    compared += 1
                    equal += found.verdict is Verdict.EXACT
                    largest = max(largest, found.ratio or 0.0)
                    if found.verdict.failed:
                        failed += 1
                        ratio = "" if found.ratio is None else f" by {found.ratio:.1e}"
                        print(
                            f"{client.reference.name} {case.id} {name}: the two ways differ{ratio}: {found.cause}"
                        )
    for name, why in missing.items():
        print(f"{Verdict.NOT_RUN} {name}: {why}")
    print(
        f"{compared} outputs: {equal} bit-equal, largest relative difference {largest:.1e}, {failed} failed; "
        f"{without} case-reference pairs have no truth"
    )
    if missing or not compared:
        return 3
    return 1 if failed else 0
