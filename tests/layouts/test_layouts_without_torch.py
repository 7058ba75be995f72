"""Layout tables, detection and plans work where torch cannot be imported."""

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
sys.modules["torch"] = None
sys.modules["numpy"] = None
from samblocks.layouts import detect, expected, plan
tensors = expected("transformers", "sam2.1_hiera_tiny")
print(*detect(tensors).candidates)
print(len(plan(tensors, source="transformers", target="muggled", variant="sam2.1_hiera_tiny").infos))
"""


def test_layouts_need_no_torch() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, cwd=root, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == ["sam2.1_hiera_tiny", "471"]
