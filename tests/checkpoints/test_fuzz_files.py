"""A few hundred inputs of the fuzzer, the same ones every time; `fuzz_files.py` makes as many as are wanted."""

import os

import pytest
from fuzz_files import KINDS, run

COUNT = int(os.environ.get("SAMBLOCKS_FUZZ", "500")) // len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_fuzz(kind, tmp_path):
    counts = run(kind, COUNT, tmp_path, seeded=True)
    assert sum(counts.values()) >= COUNT
    behind = sum(counts.values()) - counts["given up at the header"]
    assert behind >= (0 if "damaged" in kind else sum(counts.values()) // 2)
