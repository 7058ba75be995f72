"""The tests of downloads have a server on the loopback interface; commands are tried against the same one."""

import importlib.util
import sys
from pathlib import Path

path = Path(__file__).parents[1] / "checkpoints" / "conftest.py"
spec = importlib.util.spec_from_file_location("download_fixtures", path)
assert spec is not None
assert spec.loader is not None
fixtures = importlib.util.module_from_spec(spec)
sys.modules["download_fixtures"] = fixtures
spec.loader.exec_module(fixtures)

server = fixtures.server
