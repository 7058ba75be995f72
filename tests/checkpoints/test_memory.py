"""What loading and looking at a file takes of memory, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import sparse

from samblocks import VARIANTS
from samblocks.layouts import expected

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")

EXPLAINED = """
import sys
import samblocks
from parity.bench.memory import private_memory

samblocks.load(sys.argv[1])
before = private_memory()
model, report = samblocks.load(sys.argv[2], strict="explain")
print([gap.name for gap in report.missing], private_memory() - before)
"""

LIMITED = """
import resource, sys
import samblocks
samblocks.inspect(sys.argv[1])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
print(samblocks.inspect(sys.argv[2]).complete)
"""


def run(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_what_is_missing_alone_is_made(tmp_path):
    tensors = dict(expected("meta", VARIANTS["sam_vit_b"]))
    whole = sparse(tmp_path / "a.safetensors", tensors)
    del tensors["prompt_encoder.no_mask_embed.weight"]
    names, _, grown = run(EXPLAINED, whole, sparse(tmp_path / "b.safetensors", tensors)).rpartition(" ")
    assert names == "['prompt_encoder.no_mask_embed.weight']"
    assert int(grown) < whole.stat().st_size / 10


def test_a_file_larger_than_memory_is_explained(tmp_path):
    """Of addresses there are 64 MiB more than before; the file has 2.5 GB."""
    small = sparse(tmp_path / "a.safetensors", expected("meta", VARIANTS["sam_vit_b"]))
    large = sparse(tmp_path / "b.safetensors", expected("meta", VARIANTS["sam_vit_h"]))
    assert run(LIMITED, small, large) == "True\n"
