"""The Segment Anything building blocks, and the SAM, SAM 2 and SAM 2.1 models they make up.

| name | what it does |
|---|---|
| `build` | makes a released model with fresh weights |
| `swap_blocks` | puts our blocks in the place of another library's inside a live model |
| `VARIANTS` | the released models as data |

The blocks are in `samblocks.blocks`, the models in `samblocks.models`, the errors in `samblocks.errors`.
Names are imported when they are first used, so that what needs no torch does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samblocks.models.build import build
    from samblocks.models.variants import VARIANTS
    from samblocks.swap.apply import swap_blocks

__version__ = "0.1.0"

_HOMES = {
    "VARIANTS": "samblocks.models.variants",
    "build": "samblocks.models.build",
    "swap_blocks": "samblocks.swap.apply",
}

__all__ = ["VARIANTS", "build", "swap_blocks"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'samblocks' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
