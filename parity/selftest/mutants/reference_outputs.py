"""Upstream's outputs that mutants are judged by: goldens, and what is recorded once where there is none.

Whole models are too large to be kept in the project; their outputs lie under `.parity/mutants`, in the format of
goldens, until something that they depend on changes.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from importlib import import_module
from pathlib import Path

from parity import cases, package
from parity.execution.case import Case
from parity.run import goldens
from parity.run.goldens import Golden, GoldenError
from parity.workers.client import Client
from parity.workers.process import TIMEOUT
from parity.workers.start import start_clients

FOLDER = Path(".parity/mutants")

FOLLOWED = ("meta", "ultralytics")
"""The references whose numbers ours are meant to be."""

Kept = Mapping[str, Golden]
"""Upstream's outputs of one case, by the reference's name."""

_NOTE = "sources"


def collect(
    wanted: Sequence[Case], environment: Path | None = None, *, timeout: float = TIMEOUT
) -> tuple[dict[str, Kept], str]:
    """Upstream's outputs of each case, from each followed reference that has it and is not known to differ.

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
        for name in FOLLOWED:
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
    return golden if golden.provenance.get(_NOTE) == _sources_digest(case.block, case.name) else None


def _record(client: Client, case: Case) -> Golden:
    """Ask upstream, and keep the answer; a case without a counterpart is kept without outputs."""
    inputs = case.tensors()
    upstream = client.execute(case, inputs)
    truth = client.execute(case, inputs, lift=True) if upstream.status == "ok" else upstream
    whole = upstream.status == truth.status == "ok"
    note = goldens.provenance(case, client.reference, client.versions, upstream.state if whole else ())
    note[_NOTE] = _sources_digest(case.block, case.name)
    golden = Golden(upstream.outputs if whole else {}, truth.outputs if whole else {}, note)
    goldens.write(golden, goldens.path_of(case, client.reference.name, FOLDER))
    return golden


@cache
def _sources_digest(block: str, name: str) -> str:
    """Hash of everything of ours that upstream's outputs of a case depend on."""
    root = package.FOLDER
    files = [root / "execution" / name for name in ("case.py", "execute.py", "fill.py", "float64.py")]
    files += sorted((root / "references").rglob("*.py"))
    files += sorted(_with_imports(_family(block, name)))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _family(block: str, name: str) -> Path:
    """The file that a case is written in."""
    folder = Path(cases.__file__).parent
    for file in sorted(folder.glob("*.py")):
        found: Iterable[Case] = getattr(import_module(f"parity.cases.{file.stem}"), "CASES", ())
        if any(case.block == block and case.name == name for case in found):
            return file
    raise KeyError(f"{block}/{name} is in none of the files of parity.cases")


def _with_imports(file: Path) -> set[Path]:
    """A file of cases and those of its folder that it rests on."""
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += _imported(current)
    return seen


def _imported(file: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        if node.module == "parity.cases":
            names = [alias.name for alias in node.names]
        elif node.module.startswith("parity.cases."):
            names = [node.module.rsplit(".", 1)[1]]
        else:
            continue
        yield from (file.with_name(f"{name}.py") for name in names if file.with_name(f"{name}.py").exists())
