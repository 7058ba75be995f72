"""Layouts: how the same tensors are named, shaped and packed by different libraries."""

from samblocks.layouts.detect import Detection, detect
from samblocks.layouts.manifest import meta_tensors
from samblocks.layouts.planning import plan
from samblocks.layouts.rules import Rule, Table
from samblocks.layouts.steps import KINDS, Plan, Step, apply
from samblocks.layouts.tables import classes_of, expected, table, tied_keys, variants_of
from samblocks.layouts.tensors import TensorInfo
from samblocks.variants import LAYOUTS, MODEL_CLASSES

__all__ = [
    "KINDS",
    "LAYOUTS",
    "MODEL_CLASSES",
    "Detection",
    "Plan",
    "Rule",
    "Step",
    "Table",
    "TensorInfo",
    "apply",
    "classes_of",
    "detect",
    "expected",
    "meta_tensors",
    "plan",
    "table",
    "tied_keys",
    "variants_of",
]
