"""The small models of the predictors' tests, here for the pages' snippets."""

import importlib.util
import sys
from pathlib import Path

_FILE = Path(__file__).parents[1] / "predict" / "small_models.py"
_SPEC = importlib.util.spec_from_file_location("small_models", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
_models = sys.modules.setdefault("small_models", importlib.util.module_from_spec(_SPEC))
_SPEC.loader.exec_module(_models)
