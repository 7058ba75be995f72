"""Layouts: how the same tensors are named, shaped and packed by different libraries.

Nothing here needs torch but `samblocks.layouts.apply`, which carries a plan out on values.
"""

from samblocks.layouts.detect import Detection, detect
from samblocks.layouts.facts import FACTS
from samblocks.layouts.info import LAYOUTS, MODEL_CLASSES, TensorInfo
from samblocks.layouts.meta import meta_tensors
from samblocks.layouts.planning import plan
from samblocks.layouts.rules import Rule, Table
from samblocks.layouts.steps import KINDS, Plan, Step
from samblocks.layouts.tables import classes_of, expected, table, tied_keys, variants_of

__all__ = [
    "FACTS",
    "KINDS",
    "LAYOUTS",
    "MODEL_CLASSES",
    "Detection",
    "Plan",
    "Rule",
    "Step",
    "Table",
    "TensorInfo",
    "classes_of",
    "detect",
    "expected",
    "meta_tensors",
    "plan",
    "table",
    "tied_keys",
    "variants_of",
]
