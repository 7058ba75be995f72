"""Small models with filled weights, for all tests of this folder."""

import importlib.util
import sys
from pathlib import Path

for name in ("small_models", "test_video", "test_video_window"):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
