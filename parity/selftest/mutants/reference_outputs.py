"""Upstream's outputs that mutants are judged by: goldens, and what is recorded once where there is none.

Whole models are too large to be kept in the project; their outputs lie under `.parity/mutants`, in the format of
goldens, until something that they depend on changes.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from parity.execution.case import Case
from parity.run import goldens, sources
from parity.run.goldens import Golden, GoldenError
from parity.workers.client import Client
from parity.workers.process import TIMEOUT
from parity.workers.registry import FOLLOWED, REFERENCES
from parity.workers.start import start_clients

FOLDER = Path(".parity/mutants")

Goldens = Mapping[str, Golden]
"""Upstream's outputs of one case, by the reference's name."""

_NOTE = "sources"


def collect(
    wanted: Sequence[Case], environment: Path | None = None, *, timeout: float = TIMEOUT
) -> tuple[dict[str, Goldens], str]:
    """Upstream's outputs of each case, from each reference that is followed or has a golden of it.

    One that is known to differ in the case is no judge.

    Args:
        wanted: the cases.
        environment: the references' environment, for what has not been recorded yet.
        timeout: seconds that each step of a worker's start may take.

    Returns:
        By case id, those of the references; and why some are missing, empty if none is.
    """
    found: dict[str, dict[str, Golden]] = {case.id: {} for case in wanted}
    lacking: list[tuple[Case, str]] = []
    for case in wanted:
        for name in _judges(case):
            if name in case.known:
                continue
            golden = _golden(case, name) or _recorded(case, name)
            if golden is None:
                lacking.append((case, name))
            elif golden.upstream:
                found[case.id][name] = golden
    missing = ""
    with ExitStack() as stack:
        if lacking:
            clients, absent = start_clients(FOLLOWED, environment, stack, timeout=timeout)
            missing = "; ".join(f"{name}: {why}" for name, why in absent.items())
            by_name = {client.reference.name: client for client in clients}
            for case, name in lacking:
                if name in by_name:
                    golden = _record(by_name[name], case)
                    if golden.upstream:
                        found[case.id][name] = golden
    return dict(found), missing


def _judges(case: Case) -> list[str]:
    """Those that are followed, and what else has a golden: models that only a package of their own has."""
    others = [name for name in REFERENCES if goldens.path_of(case, name).exists()]
    return list(dict.fromkeys((*FOLLOWED, *others)))


def _golden(case: Case, reference: str) -> Golden | None:
    file = goldens.path_of(case, reference)
    if not file.exists():
        return None
    golden = goldens.read(file)
    fresh = golden.provenance["inputs"] == goldens.inputs_digest(case) and "state" in golden.provenance
    return golden if fresh else None


def _recorded(case: Case, reference: str) -> Golden | None:
    """What was recorded earlier, if nothing that it depends on has changed since."""
    file = goldens.path_of(case, reference, FOLDER)
    if not file.exists():
        return None
    try:
        golden = goldens.read(file)
    except GoldenError:
        return None
    return golden if golden.provenance.get(_NOTE) == _sources_digest(case) else None


def _record(client: Client, case: Case) -> Golden:
    """Ask upstream, and keep the answer; a case without a counterpart is kept without outputs."""
    inputs = case.tensors()
    upstream = client.execute(case, inputs)
    truth = client.execute(case, inputs, lift=True) if upstream.status == "ok" else upstream
    whole = upstream.status == truth.status == "ok"
    state = upstream.state if whole else ()
    note = goldens.provenance(case, client.reference, client.versions, state, upstream.matmul_error)
    note[_NOTE] = _sources_digest(case)
    golden = Golden(upstream.outputs if whole else {}, truth.outputs if whole else {}, note)
    goldens.write(golden, goldens.path_of(case, client.reference.name, FOLDER))
    return golden


def _sources_digest(case: Case) -> str:
    """Hash of everything of ours that upstream's outputs of a case depend on."""
    return sources.digest(case.id, *(REFERENCES[name].module for name in FOLLOWED))
