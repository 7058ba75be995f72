"""`parity record`: write goldens from upstream, or with --check derive them anew and report what drifted."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from parity.cases import all_cases
from parity.execution.case import Case
from parity.execution.execute import flatten
from parity.run import goldens
from parity.run.goldens import FOLDER, Golden, GoldenError
from parity.verdict.compare import Verdict, rms
from parity.workers import options as worker_options
from parity.workers.client import Client
from parity.workers.registry import REFERENCES
from parity.workers.start import start_clients

HELP = "record goldens from upstream"

_LARGEST = 96 * 1024
"""Bytes that one golden may have: larger cases are judged live only."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--check", action="store_true", help="write nothing; report drift and its cause")
    parser.add_argument("--reference", action="append", choices=sorted(REFERENCES), help="only this one")
    parser.add_argument("--block", action="append", metavar="NAME", help="only this block's cases")
    worker_options.add(parser)
    parser.add_argument("--goldens", type=Path, default=FOLDER, metavar="FOLDER", help="where goldens lie")


def recordable(case: Case) -> bool:
    """Whether a case belongs to the goldens: blocks, not whole models."""
    return case.variant is None and case.quick


def run(options: argparse.Namespace) -> int:
    """Record or check goldens; 1 if one drifted, 3 if a reference is missing."""
    cases = [
        case
        for case in all_cases().values()
        if recordable(case) and (not options.block or case.block in options.block)
    ]
    names = options.reference or list(REFERENCES)
    done, drifted, skipped = 0, 0, 0
    with ExitStack() as stack:
        clients, missing = start_clients(names, options.references, stack, timeout=options.worker_timeout)
        for client in clients:
            for case in cases:
                golden = _derive(client, case)
                file = goldens.path_of(case, client.reference.name, options.goldens)
                if golden is None or _size(golden) > _LARGEST:
                    skipped += 1
                    if file.exists() and not options.check:
                        file.unlink()
                    continue
                done += 1
                if not options.check:
                    goldens.write(golden, file)
                    continue
                for line in _drift(golden, file):
                    drifted += 1
                    print(f"{client.reference.name} {case.id}: {line}")
    for name, why in missing.items():
        print(f"{Verdict.NOT_RUN} {name}: {why}")
    what = f"checked, {drifted} remarks" if options.check else "recorded"
    print(f"{done} goldens {what}; {skipped} cases have none (no counterpart, or too large to keep)")
    if missing or not done:
        return 3
    return 1 if drifted else 0


def _derive(client: Client, case: Case) -> Golden | None:
    inputs = case.tensors()
    upstream = client.execute(case, inputs)
    if upstream.status != "ok":
        return None
    truth = client.execute(case, inputs, lift=True)
    if truth.status != "ok":
        return None
    note = goldens.provenance(case, client.reference, client.versions, upstream.state)
    return Golden(upstream.outputs, truth.outputs, note)


def _size(golden: Golden) -> int:
    return sum(value.nbytes for part in (golden.upstream, golden.truth) for _, value in flatten(part))


def _drift(fresh: Golden, file: Path) -> Iterator[str]:
    """Say what differs between a fresh golden and the kept one, and what may have caused it."""
    if not file.exists():
        yield "has no golden; record it: make goldens"
        return
    try:
        kept = goldens.read(file)
    except GoldenError as error:
        yield str(error)
        return
    changed = [key for key in fresh.provenance if fresh.provenance[key] != kept.provenance.get(key)]
    cause = ", ".join(f"{key}: {kept.provenance.get(key)} → {fresh.provenance[key]}" for key in changed)
    for kind, new, old in (("upstream", fresh.upstream, kept.upstream), ("truth", fresh.truth, kept.truth)):
        for name in sorted(set(new) | set(old)):
            size = _difference(new.get(name), old.get(name), kept.truth.get(name))
            if size:
                yield f"{kind} output {name!r} drifted: {size} (cause: {cause or 'none of the recorded facts changed'})"
    if changed and set(changed) & {"inputs", "weights"}:
        yield f"its {' and '.join(sorted(set(changed) & {'inputs', 'weights'}))} are made differently now"


def _difference(new: Tensor | None, old: Tensor | None, truth: Tensor | None) -> str:
    if new is None or old is None:
        return "it is gone" if new is None else "it is new"
    if new.shape != old.shape or new.dtype != old.dtype:
        return f"{tuple(old.shape)} {old.dtype} → {tuple(new.shape)} {new.dtype}"
    if torch.equal(new.nan_to_num(), old.nan_to_num()):
        return ""
    scale = rms(truth) if truth is not None else 0.0
    return f"rms {rms(new.double() - old.double()):.1e} where values are {scale:.1e}"
