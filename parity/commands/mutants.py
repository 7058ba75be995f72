"""`parity mutants`: plant bugs in our own modules, one at a time, and print which cases and gates see each.

Exit status: 0 when every mutant is killed or proven equivalent, 1 when one survives or the code as it is does not
hold, 3 when nothing could be judged.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from parity.cases import all_cases
from parity.errors import UsageError
from parity.execution.case import Case
from parity.execution.folders import check_outputs
from parity.selftest.mutants import matrix, reference_outputs
from parity.selftest.mutants.catalog import ALL
from parity.selftest.mutants.depend import dependents
from parity.selftest.mutants.hunt import TIMEOUT, Result, hunt, plan
from parity.selftest.mutants.mutant import Mutant
from parity.workers import options as worker_options

HELP = "plant bugs and see that the cases catch them"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="this id, family, block or file; may be given again"
    )
    parser.add_argument("--list", action="store_true", help="list the mutants and plant none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the matrix as JSON")
    worker_options.add(parser)
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="processes beside each other")
    parser.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help="for one mutant (default: %(default)g)",
    )


def judged_by() -> dict[str, Case]:
    """The cases that mutants are run on: all but released models, which are too slow to be run so often."""
    return {case.id: case for case in all_cases().values() if case.variant is None}


def run(options: argparse.Namespace) -> int:
    """Plant the bugs and print the matrix; 1 if one survives, 3 if nothing was judged."""
    check_outputs(options.json)
    chosen = _chosen(options.only)
    if options.list:
        for mutant in chosen:
            print(f"{mutant.id:60} {mutant.family:34} {mutant.why}")
        print(f"{len(chosen)} mutants, {len({mutant.family for mutant in chosen})} families")
        return 0
    if "fork" not in multiprocessing.get_all_start_methods():
        raise UsageError("mutants are planted in forked processes, which this system does not have")
    started = time.monotonic()
    cases = judged_by()
    blocks = list(dict.fromkeys(case.block for case in cases.values()))
    work = [
        (mutant, plan(mutant, cases, [b for b in dependents(mutant.module, blocks) if b != mutant.block]))
        for mutant in chosen
    ]
    first, held = _hunted([(mutant, rounds[:1]) for mutant, rounds in work], options)
    unseen = {
        result.mutant.id
        for result in first
        if result.mutant is not None and not (result.killed or result.broken)
    }
    rest = [(mutant, rounds[1:]) for mutant, rounds in work if mutant.id in unseen and rounds[1:]]
    again, held_again = _hunted(rest, options) if rest else ([], True)
    tried = {result.mutant.id for result in again if result.mutant is not None}
    results = [result for result in first if result.mutant is None or result.mutant.id not in tried] + again
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    for line in matrix.text(results):
        print(line)
    print(f"{time.monotonic() - started:.0f} s")
    if options.json:
        matrix.write_json(results, options.json)
    if not any(result.cases for result in results):
        return 3
    return 1 if not (held and held_again) or any(matrix.failed(result) for result in results) else 0


def _hunted(
    work: Sequence[tuple[Mutant, list[list[Case]]]], options: argparse.Namespace
) -> tuple[list[Result], bool]:
    """Hunt the mutants of one pass; and whether the code as it is holds in the pass's cases."""
    wanted = {case.id: case for _, rounds in work for cases in rounds for case in cases}
    upstream, missing = reference_outputs.collect(
        list(wanted.values()), options.references, timeout=options.worker_timeout
    )
    if missing:
        print(f"NOT RUN {missing}")
    held = _sound([case for case in wanted.values() if upstream[case.id]], upstream, options)
    results: list[Result] = []
    for result in hunt(work, upstream, at_once=options.at_once, timeout=options.timeout):
        results.append(result)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{len(results)}/{len(work)}")
            sys.stderr.flush()
    return results, held


def _chosen(only: Sequence[str] | None) -> list[Mutant]:
    if not only:
        return list(ALL)
    chosen = [m for m in ALL if set(only) & {m.id, m.name, m.family, m.block, m.file, m.module}]
    if not chosen:
        raise UsageError(f"no mutant is called, or belongs to, {' or '.join(only)}: see --list")
    return chosen


def _sound(
    cases: Sequence[Case], upstream: dict[str, reference_outputs.Goldens], options: argparse.Namespace
) -> bool:
    """Whether the code as it is holds in all cases; those in which it does not are judged no further."""
    halves = [list(cases[start::2]) for start in (0, 1)]
    held = True
    for result in hunt(
        [(None, [half]) for half in halves], upstream, at_once=options.at_once, timeout=options.timeout * 4
    ):
        for case, found in result.killers.items():
            held = False
            print(f"UNSOUND {case}: the code as it is fails, {found.gates}")
            upstream[case] = {}
    print(f"{sum(bool(upstream[case.id]) for case in cases)} cases hold without a mutant")
    return held


__all__ = ["HELP", "add", "judged_by", "run"]
