"""Every block, judged by what upstream computed: its outputs and their float64 truth, recorded with provenance."""

from collections import Counter

import pytest
import torch

from parity.cases import all_cases
from parity.commands.record import LARGEST, recordable
from parity.execution.case import Case
from parity.execution.execute import execute, prepare
from parity.execution.paths import PATHS
from parity.reports import overview, summary
from parity.run import goldens
from parity.run.goldens import FOLDER, GoldenClient
from parity.run.job import jobs
from parity.run.runner import run
from parity.run.samblocks_library import library
from parity.selftest.mutants.depend import dependents
from parity.workers.registry import REFERENCES
from samblocks import blocks

PAGE = [
    "DropPath",
    "MaskDownSampler",
    "CXBlock",
    "Fuser",
    "SAM2TwoWayAttentionBlock",
    "SAM2TwoWayTransformer",
    "RoPEAttention",
    "MultiScaleAttention",
    "MultiScaleBlock",
    "PositionEmbeddingSine",
    "PositionEmbeddingRandom",
    "Block",
    "REAttention",
    "PatchEmbed",
    "do_pool",
]

CLIENTS = {name: GoldenClient(reference) for name, reference in REFERENCES.items()}
JUDGED = [(name, case) for name, client in CLIENTS.items() for case in client.cases(all_cases().values())]
CASES = list({case.id: case for _, case in JUDGED}.values())
"""Ours runs once for all who judge it."""
CHUNKING = dependents("samblocks.ops.chunking", {case.block for case in CASES})
CUT = [case for case in CASES if case.block in CHUNKING and not case.name.startswith("predictor_")]
"""Those whose code can cut its work in chunks; the others' does not know of it, nor do the ways from pictures and
clicks to a model and back."""

of_each_case = pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])


def judges(case: Case) -> list[GoldenClient]:
    """The references that have a golden of a case."""
    return [CLIENTS[name] for name, other in JUDGED if other.id == case.id]


@of_each_case
def test_block_agrees_with_upstream(case: Case) -> None:
    rows = list(run(list(jobs([case])), judges(case), dtypes=[torch.float32, torch.float64]))
    assert {row.reference for row in rows} == {client.reference.name for client in judges(case)}
    assert summary.status(rows) == 0, "\n".join(head + rest for head, rest, _ in overview.failures(rows))


@pytest.mark.parametrize("way", ["chunks", "ragged"])
@pytest.mark.parametrize("case", CUT, ids=[case.id for case in CUT])
def test_block_agrees_when_cut(case: Case, way: str) -> None:
    with PATHS[way]():
        test_block_agrees_with_upstream(case)


@of_each_case
def test_goldens_were_recorded_with_these_weights(case: Case) -> None:
    state = () if case.is_function else prepare(case, library())[1]
    weights = goldens.weights_digest(case, state)
    for client in judges(case):
        provenance = goldens.read(goldens.path_of(case, client.reference.name)).provenance
        assert provenance["weights"] == weights
        assert provenance["case"] == case.id
        assert provenance["recorded_from"] == client.reference.name


def test_every_block_of_the_page_has_goldens_from_every_upstream_that_has_it() -> None:
    count = Counter((name, case.block) for name, case in JUDGED)
    assert not [(name, block) for name in ("meta", "ultralytics") for block in PAGE if count[name, block] < 3]


def test_every_case_of_a_block_has_a_golden_where_it_is_small_enough() -> None:
    missing = []
    for case in all_cases().values():
        if case.block in blocks.__all__ and recordable(case) and not judges(case):
            outputs = execute(case, library(), case.tensors()).outputs.values()
            both = sum(value.nbytes + value.numel() * torch.float64.itemsize for value in outputs)
            missing += [f"--block {case.id}"] * (both <= LARGEST)
    assert not missing, "python -m parity record --reference meta --reference ultralytics " + " ".join(
        missing
    )


def test_no_golden_is_without_its_case() -> None:
    known = {
        goldens.path_of(case, name)
        for name in REFERENCES
        for case in all_cases().values()
        if recordable(case)
    }
    assert not sorted(set(FOLDER.rglob("*.safetensors")) - known)


def test_goldens_stay_small() -> None:
    sizes = [file.stat().st_size for file in FOLDER.rglob("*.safetensors")]
    assert sum(sizes) <= 9 * 1024 * 1024
    assert max(sizes) <= 256 * 1024
