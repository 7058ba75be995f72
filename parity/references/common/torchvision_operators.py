"""Let `import torchvision` succeed where its compiled library does not fit the installed torch.

The CPU build of torch and the published torchvision wheels do not always match; torchvision then fails while it
registers shape functions for two operators that its library would have declared. Upstream packages import
torchvision for image resizing, which needs none of its operators. So the two are declared here, without a kernel:
calling one fails, as it should.
"""

import importlib.util
from pathlib import Path
from typing import Any

import torch

_DECLARATIONS = tuple(
    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
)
_declared: list[torch.library.Library] = []


def declare_missing() -> bool:
    """Declare what is missing, once, before torchvision is imported; returns whether anything was."""
    if _declared or _compiled_library_loads():
        return bool(_declared)
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for declaration in _DECLARATIONS:
        library.define(declaration)
    _declared.append(library)  # the declarations live as long as this object
    return True


def _compiled_library_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return True  # nothing to repair
    for folder in spec.submodule_search_locations:
        for compiled in sorted(Path(folder).glob("_C*.so")) + sorted(Path(folder).glob("_C*.pyd")):
            try:
                torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
            except OSError:
                continue
            return True
    return False
