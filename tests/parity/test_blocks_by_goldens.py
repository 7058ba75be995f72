"""Every block, judged by what upstream computed: its outputs and their float64 truth, recorded with provenance."""

from collections import Counter

import pytest
import torch

from parity.cases import all_cases
from parity.commands.record import recordable
from parity.execution.case import Case
from parity.execution.execute import execute
from parity.execution.paths import PATHS
from parity.reports import overview, summary
from parity.run import goldens
from parity.run.goldens import FOLDER, GoldenClient
from parity.run.job import jobs
from parity.run.runner import run
from parity.run.samblocks_library import library
from parity.selftest.mutants.depend import dependents
from parity.workers.registry import REFERENCES

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
CHUNKING = dependents("samblocks.ops.chunking", {case.block for _, case in JUDGED})
CUT = [(name, case) for name, case in JUDGED if case.block in CHUNKING]
"""Those whose code can cut its work in chunks; the others' does not know of it."""


@pytest.mark.parametrize(("reference", "case"), JUDGED, ids=[f"{name}:{case.id}" for name, case in JUDGED])
def test_block_agrees_with_upstream(reference: str, case: Case) -> None:
    rows = list(run(list(jobs([case])), [CLIENTS[reference]], dtypes=[torch.float32, torch.float64]))
    assert rows
    assert summary.status(rows) == 0, "\n".join(head + rest for head, rest, _ in overview.failures(rows))


@pytest.mark.parametrize("way", ["chunks", "ragged"])
@pytest.mark.parametrize(("reference", "case"), CUT, ids=[f"{name}:{case.id}" for name, case in CUT])
def test_block_agrees_when_cut(reference: str, case: Case, way: str) -> None:
    with PATHS[way]():
        test_block_agrees_with_upstream(reference, case)


@pytest.mark.parametrize(("reference", "case"), JUDGED, ids=[f"{name}:{case.id}" for name, case in JUDGED])
def test_golden_was_recorded_with_these_weights(reference: str, case: Case) -> None:
    provenance = goldens.read(goldens.path_of(case, reference)).provenance
    state = execute(case, library(), case.tensors()).state
    assert provenance["weights"] == goldens.weights_digest(case, state)
    assert provenance["case"] == case.id
    assert provenance["recorded_from"] == reference


def test_every_block_of_the_page_has_goldens_from_every_upstream_that_has_it() -> None:
    count = Counter((name, case.block) for name, case in JUDGED)
    assert not [(name, block) for name in ("meta", "ultralytics") for block in PAGE if count[name, block] < 3]


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
