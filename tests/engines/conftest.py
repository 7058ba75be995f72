"""Small models for all tests of this folder."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from samblocks.models import SAM2Model, SAMModel

_SPEC = importlib.util.spec_from_file_location("engine_models", Path(__file__).with_name("engine_models.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
_models = sys.modules.setdefault("engine_models", importlib.util.module_from_spec(_SPEC))
_SPEC.loader.exec_module(_models)


@pytest.fixture
def sam() -> SAMModel:
    return _models.small_sam()


@pytest.fixture
def sam2() -> SAM2Model:
    return _models.small_sam2()


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.RandomState(3).randint(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
