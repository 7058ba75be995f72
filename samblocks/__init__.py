"""The Segment Anything building blocks, and the SAM, SAM 2 and SAM 2.1 models they make up.

| name | what it does |
|---|---|
| `load` | a checkpoint, by path or name, into the model it belongs to |
| `save` | writes a model's weights in a layout of your choice |
| `inspect` | says what a checkpoint is and what would become of every tensor in it |
| `convert` | a state dict from one layout to another |
| `build` | makes a released model with fresh weights |
| `ImagePredictor` | pictures and clicks in, masks out, as Meta's predictors do it |
| `Masks` | masks as arrays, COCO's encoding, polygons, boxes and GeoJSON |
| `MaskGenerator` | all masks of a picture, as Meta's generators find them |
| `VideoPredictor` | objects shown on some frames of a video, found on all of them |
| `accelerate` | lets a model's slow parts run in OpenVINO, ONNX Runtime or torch's compiler |
| `export` | writes a model's parts as files of another runtime, with a card that says how equal they are |
| `engine_report` | the report on a model that was loaded with `backend=` |
| `swap_blocks` | puts our blocks in the place of another library's inside a live model |
| `plain_paths` | takes no fast path meanwhile: the order of operations, and the bits, of upstream |
| `VARIANTS` | the released models as data |

The floors, lowest first; imports only go down:

    files        written whole or not at all, locked, hashed
    variants     the released models as data
    ops          pure functions on tensors
    blocks       the blocks, under upstream's names
    models       what they make up
    layouts      tensor names in five layouts
    checkpoints  files: read, load, save, convert, download
    swap         our blocks inside other libraries' models
    predict      pictures and clicks in, masks out
    engines      other runtimes behind our modules
    cli          the command `samblocks`

Names are imported when they are first used, so that what needs no torch does not wait for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from samblocks.errors import CheckpointError, EngineError, LayoutError, SamblocksError, SwapError

if TYPE_CHECKING:
    from samblocks.checkpoints import LoadReport, convert, inspect, save
    from samblocks.engines.accelerate import accelerate
    from samblocks.engines.export import export
    from samblocks.engines.load import load
    from samblocks.engines.report import engine_report
    from samblocks.models.build import build
    from samblocks.ops.fast_path import plain_paths
    from samblocks.predict.generator import MaskGenerator
    from samblocks.predict.image import ImagePredictor
    from samblocks.predict.masks import Masks
    from samblocks.predict.video.predictor import VideoPredictor
    from samblocks.swap.apply import swap_blocks
    from samblocks.variants import VARIANTS

__version__ = "0.2.0"

_HOMES = {
    "ImagePredictor": "samblocks.predict.image",
    "LoadReport": "samblocks.checkpoints",
    "Masks": "samblocks.predict.masks",
    "MaskGenerator": "samblocks.predict.generator",
    "VARIANTS": "samblocks.variants",
    "VideoPredictor": "samblocks.predict.video.predictor",
    "accelerate": "samblocks.engines.accelerate",
    "build": "samblocks.models.build",
    "convert": "samblocks.checkpoints",
    "engine_report": "samblocks.engines.report",
    "export": "samblocks.engines.export",
    "inspect": "samblocks.checkpoints",
    "load": "samblocks.engines.load",
    "plain_paths": "samblocks.ops.fast_path",
    "save": "samblocks.checkpoints",
    "swap_blocks": "samblocks.swap.apply",
}

__all__ = [
    "VARIANTS",
    "CheckpointError",
    "EngineError",
    "ImagePredictor",
    "LayoutError",
    "LoadReport",
    "MaskGenerator",
    "Masks",
    "SamblocksError",
    "SwapError",
    "VideoPredictor",
    "accelerate",
    "build",
    "convert",
    "engine_report",
    "export",
    "inspect",
    "load",
    "plain_paths",
    "save",
    "swap_blocks",
]


_PARTS = ("blocks", "checkpoints", "engines", "layouts", "models", "ops", "predict", "swap")


def __getattr__(name: str) -> object:
    if name in _PARTS:
        return import_module(f"samblocks.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'samblocks' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
