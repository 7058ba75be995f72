"""What stands in for a reference, for all tests of this folder."""

import importlib.util
import sys
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("stand_in", Path(__file__).with_name("stand_in.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
_module = sys.modules.setdefault("stand_in", importlib.util.module_from_spec(_SPEC))
_SPEC.loader.exec_module(_module)
