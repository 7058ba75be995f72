"""`parity contracts`: what every module must keep whatever its numbers: repeats, copies, threads, shapes and more."""

import argparse
from collections.abc import Iterator, Sequence

from parity.cases import all_cases
from parity.contracts.manners import CONTRACTS, DEMANDS, Contract, NotApplicable, modules
from parity.errors import UsageError
from parity.execution.case import Case

HELP = "check manners on all cases"


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--block", action="append", metavar="NAME", help="only this block's cases")
    parser.add_argument("--contract", action="append", choices=sorted(CONTRACTS), help="only this one")


def violations(contract: Contract, group: Sequence[Case]) -> Iterator[str]:
    """A contract's violations on the cases of one module; an error counts as one. Raises NotApplicable."""
    try:
        yield from contract(group)
    except NotApplicable:
        raise
    except Exception as error:
        yield f"{group[0].id}: raised {type(error).__name__}: {error}"


def run(options: argparse.Namespace) -> int:
    """Check and print; 1 if a module breaks a contract."""
    cases = [case for case in all_cases().values() if case.quick]
    if options.block:
        cases = [case for case in cases if case.block in options.block]
        if not cases:
            raise UsageError(f"no case is about {', '.join(options.block)}")
    groups, failed = modules(cases), 0
    for name in options.contract or CONTRACTS:
        contract, held, without, found = CONTRACTS[name], 0, 0, 0
        for group in groups:
            try:
                sentences = list(violations(contract, group))
            except NotApplicable:
                without += 1
                continue
            held += not sentences
            found += bool(sentences)
            for sentence in sentences:
                print(f"  {name}: {sentence}")
        failed += found
        counts = f"{held:4} modules hold, {found:3} do not, {without:4} without"
        print(f"{name:14} {counts}  {DEMANDS[name]}", flush=True)
    return 1 if failed else 0
