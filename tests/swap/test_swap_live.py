"""Swaps in the hosts themselves: each script of `live` runs in the references' environment and asserts."""

import os
import subprocess
from pathlib import Path

import pytest

from parity import package
from parity.workers.client import interpreter

SCRIPTS = sorted(Path(__file__).with_name("live").glob("*.py"))

START = """
import runpy, sys, warnings
warnings.simplefilter("ignore")
from parity.references.common import torchvision_operators
torchvision_operators.declare_missing()
runpy.run_path(sys.argv[1], run_name="__main__")
"""


@pytest.mark.live
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_in_the_hosts(script: Path) -> None:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    environment = {**os.environ, "PYTHONPATH": str(package.ROOT), "YOLO_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-c", START, str(script)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 0
