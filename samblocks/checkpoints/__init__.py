"""Checkpoint files: found, verified, read safely, explained, loaded, converted and written.

| file | what it is for |
|---|---|
| `read` | a file's tensors by name, mapped into memory, nothing ever run |
| `write` | a file tensor by tensor, put in its place when it is whole |
| `load`, `save` | a file to a model and back |
| `convert` | one layout to another |
| `inspect`, `report` | what a file is and what would become of each tensor |
| `resize` | named policies for other image sizes and memory lengths |
| `lock`, `fetch` | the public files: where they are, what their bytes must be |
"""

from samblocks.checkpoints.convert import convert, convert_file
from samblocks.checkpoints.converted import Conversion
from samblocks.checkpoints.inspect import inspect
from samblocks.checkpoints.load import load
from samblocks.checkpoints.report import LoadReport
from samblocks.checkpoints.save import save

__all__ = ["Conversion", "LoadReport", "convert", "convert_file", "inspect", "load", "save"]
