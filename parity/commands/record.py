"""`parity record`: write goldens from upstream, or with --check derive them anew and report what drifted."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from parity.cases import of
from parity.execution.case import Case
from parity.execution.execute import flatten
from parity.run import goldens
from parity.run.draws import drawn
from parity.run.equivalents import errors_of_equivalents
from parity.run.goldens import FOLDER, Golden, GoldenError
from parity.run.samblocks_library import library as own_library
from parity.verdict.compare import Verdict, rms
from parity.workers import options as worker_options
from parity.workers.client import Client
from parity.workers.registry import FOLLOWED, REFERENCES
from parity.workers.start import start_clients
from samblocks.numerics.rule import MANY
from samblocks.numerics.verdict import error

HELP = "record goldens from upstream"

LARGEST = 96 * 1024
"""Bytes that one golden may have: larger cases are judged live only."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--check", action="store_true", help="write nothing; report drift and its cause")
    parser.add_argument("--reference", action="append", choices=sorted(REFERENCES), help="only this one")
    parser.add_argument(
        "--block", action="append", metavar="NAME", help="only this block's cases, or the case with this id"
    )
    worker_options.add(parser)
    parser.add_argument("--goldens", type=Path, default=FOLDER, metavar="FOLDER", help="where goldens lie")


def recordable(case: Case) -> bool:
    """Whether a case belongs to the goldens: blocks, not whole models."""
    return case.variant is None and case.quick


def run(options: argparse.Namespace) -> int:
    """Record or check goldens; 1 if one drifted or could not be derived, 3 if a reference is missing."""
    cases = [case for case in of(options.block or ()) if recordable(case)]
    wanted = options.reference or list(REFERENCES)
    # Others that compute the same are asked too: their errors are as honest.
    names = list(dict.fromkeys([*wanted, *FOLLOWED]))
    done, drifted, failed, skipped = 0, 0, 0, 0
    with ExitStack() as stack:
        clients, missing = start_clients(names, options.references, stack, timeout=options.worker_timeout)
        present = [name for name in wanted if name not in missing]
        if set(FOLLOWED) & set(missing):
            present = []  # goldens would be recorded without the others' errors
        for case in cases if present else ():
            derived, raised = _derive(clients, case)
            for name in present:
                golden, file = derived.get(name), goldens.path_of(case, name, options.goldens)
                if golden is None and name in raised and file.exists():
                    failed += 1
                    print(f"{name} {case.id}: its golden is kept, since upstream raised {raised[name]}")
                    continue
                if golden is None:
                    skipped += 1
                    if file.exists() and not options.check and name not in missing:
                        file.unlink()
                    continue
                done += 1
                if not options.check:
                    goldens.write(golden, file)
                    continue
                for line in _drift(golden, file):
                    drifted += 1
                    print(f"{name} {case.id}: {line}")
    for name, why in missing.items():
        print(f"{Verdict.NOT_RUN} {name}: {why}")
    what = f"checked, {drifted} remarks" if options.check else "recorded"
    print(f"{done} goldens {what}; {skipped} cases have none (no counterpart, or too large to keep)")
    if any(name in missing for name in wanted) or not done:
        return 3
    return 1 if drifted or failed else 0


def _derive(clients: Sequence[Client], case: Case) -> tuple[dict[str, Golden], dict[str, str]]:
    """The golden of a case from each reference that has it, by name; none where it would be too large.

    And what was raised by those that have it and failed.
    """
    answers, raised = _answers(clients, case, case.tensors(), None)
    first = {name: golden for name, golden in answers.items() if _size(golden) <= LARGEST}
    if not first:
        return {}, raised
    draws: list[dict[str, Golden]] = []
    for number in range(1, MANY + 1) if not case.exact else ():
        with drawn(case, number, own_library()) as draw:
            draws.append({} if draw is None else _answers(clients, case, draw.inputs, draw.file)[0])
    found = {
        name: replace(golden, errors=_errors(golden, name, draws), honest=_honest(golden, name, draws))
        for name, golden in first.items()
    }
    return found, raised


def _answers(
    clients: Sequence[Client], case: Case, inputs: Mapping[str, Tensor], weights: Path | None
) -> tuple[dict[str, Golden], dict[str, str]]:
    """Outputs and truths of every reference that has the case, by name; and what those that failed raised."""
    found, raised = {}, {}
    for client in clients:
        name = client.reference.name
        upstream = client.execute(case, inputs, weights=weights)
        truth = (
            client.execute(case, inputs, lift=True, weights=weights) if upstream.status == "ok" else upstream
        )
        if truth.status == "ok":
            note = goldens.provenance(
                case, client.reference, client.versions, upstream.state, upstream.matmul_error
            )
            found[name] = Golden(upstream.outputs, truth.outputs, note)
        elif truth.status == "raised":
            raised[name] = truth.message
    return found, raised


def _errors(first: Golden, name: str, draws: Sequence[Mapping[str, Golden]]) -> dict[str, list[float | None]]:
    """The reference's rms error by output and draw."""
    judged = [path for path, value in first.upstream.items() if value.is_floating_point()]
    return {
        path: [
            _rounded(error(draw[name].upstream[path], draw[name].truth[path]).rms)
            if name in draw and path in draw[name].truth
            else None
            for draw in draws
        ]
        for path in judged
        if draws
    }


def _honest(first: Golden, name: str, draws: Sequence[Mapping[str, Golden]]) -> dict[str, list[float]]:
    """The equivalents' relative error by output and draw, of outputs where it is ever larger than the reference's."""
    found = [errors_of_equivalents(draw, name) if name in draw else {} for draw in draws]
    return {
        path: [_rounded(errors.get(path, 0.0)) for errors in found]
        for path in first.upstream
        if any(path in errors for errors in found)
    }


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def _size(golden: Golden) -> int:
    return sum(value.nbytes for part in (golden.upstream, golden.truth) for _, value in flatten(part))


def _drift(fresh: Golden, file: Path) -> Iterator[str]:
    """Say what differs between a fresh golden and the kept one, and what may have caused it."""
    if not file.exists():
        yield "has no golden; record it without --check"
        return
    try:
        recorded = goldens.read(file)
    except GoldenError as error:
        yield str(error)
        return
    changed = [key for key in fresh.provenance if fresh.provenance[key] != recorded.provenance.get(key)]
    cause = ", ".join(f"{key}: {recorded.provenance.get(key)} → {fresh.provenance[key]}" for key in changed)
    for kind, new, old in (
        ("upstream", fresh.upstream, recorded.upstream),
        ("truth", fresh.truth, recorded.truth),
    ):
        for name in sorted(set(new) | set(old)):
            size = _difference(new.get(name), old.get(name), recorded.truth.get(name))
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
